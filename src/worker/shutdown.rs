//! When a process is asked to stop.

use std::future::Future;
use std::io;

/// Completes when the process is asked to stop: by ctrl-c, or by SIGTERM from whoever runs it, such as Kubernetes or systemd. For
/// [`Worker::run`](crate::Worker::run).
///
/// From the call on, and not only when it is awaited, these signals no longer end the process by themselves. Where they cannot be received a warning is
/// logged, and it never completes.
///
/// # Panics
/// Outside of a Tokio runtime.
///
/// ```no_run
/// use taskhub::{Storage, TaskHub, Worker, shutdown_signal};
///
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let hub = TaskHub::open(Storage::connect("UseDevelopmentStorage=true")?, "Orders").await?;
/// Worker::builder(&hub).run(shutdown_signal()).await?;
/// # Ok(()) }
/// ```
pub fn shutdown_signal() -> impl Future<Output = ()> + Send + 'static {
    let signals = signals();
    async {
        match signals {
            Ok(asked) => asked.await,
            Err(error) => {
                tracing::warn!(%error, "signals cannot be received; end the process by other means");
                std::future::pending().await
            }
        }
    }
}

#[cfg(unix)]
fn signals() -> io::Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn signals() -> io::Result<impl Future<Output = ()> + Send> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move { drop(interrupt.recv().await) })
}
