//! The connections of a server that has few clients: where there are too many, the oldest gives way to the newest.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// So many are open at once. Who opens more and says nothing, or reads no answer, closes connections of his own, and keeps nobody out: the next who
/// asks may be the one who ends a program that does not answer.
pub(crate) const CONNECTIONS_MAX: usize = 128;
/// Between two tries to take a connection where the system gives none, as when there are too many open files.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

/// Takes connections until `stop` completes, and then waits until those that are open have ended; all on the task of the caller, so that who drops it
/// drops them.
///
/// # Errors
/// Why no more can be taken.
pub(crate) async fn serve<C: Future<Output = ()>>(
    listener: TcpListener,
    stop: impl Future<Output = ()>,
    connection: impl Fn(TcpStream) -> C,
) -> io::Result<()> {
    let mut stop = std::pin::pin!(stop);
    let mut open = FuturesUnordered::new();
    // The oldest first, each with what ends it when it is dropped.
    let mut order: VecDeque<(u64, oneshot::Sender<Infallible>)> = VecDeque::new();
    for number in 0.. {
        let stream = loop {
            tokio::select! {
                biased;
                () = stop.as_mut() => {
                    drop(listener);
                    while open.next().await.is_some() {}
                    return Ok(());
                }
                Some(ended) = open.next() => order.retain(|(number, _)| *number != ended),
                taken = take(&listener) => match taken {
                    Ok(stream) => break stream,
                    Err(error) => return Err(error),
                },
            }
        };
        if order.len() == CONNECTIONS_MAX {
            order.pop_front();
        }
        let (stays, gives_way) = oneshot::channel();
        order.push_back((number, stays));
        let serving = connection(stream);
        open.push(async move {
            tokio::select! {
                biased;
                _ = gives_way => {}
                () = serving => {}
            }
            number
        });
    }
    Ok(())
}

/// The next connection.
async fn take(listener: &TcpListener) -> io::Result<TcpStream> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Ok(stream),
            // That client has gone again.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "no connection can be taken; tried again");
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}
