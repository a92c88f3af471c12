//! When a process is asked to stop.

/// Completes when the process is asked to stop: by ctrl-c, or by SIGTERM from whoever runs it, such as Kubernetes or systemd. For
/// [`Worker::run`](crate::Worker::run).
///
/// From its first poll on these signals no longer end the process by themselves. Where they cannot be received a warning is logged, and it
/// never completes.
///
/// ```no_run
/// use taskhub::{Storage, TaskHub, Worker, shutdown_signal};
///
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let hub = TaskHub::open(Storage::connect("UseDevelopmentStorage=true")?, "Orders").await?;
/// Worker::builder(&hub).run(shutdown_signal()).await?;
/// # Ok(()) }
/// ```
pub async fn shutdown_signal() {
    if let Err(error) = asked_to_stop().await {
        tracing::warn!(%error, "signals cannot be received; end the process by other means");
        std::future::pending().await
    }
}

#[cfg(unix)]
async fn asked_to_stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[cfg(not(unix))]
async fn asked_to_stop() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
