//! The connections of a server: how many are open at once, and which of them gives way when there are too many.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// So many are open at once on a server that has few clients. Who opens more and says nothing, or reads no answer, closes connections of his own, and
/// keeps nobody out: the next who asks may be the one who ends a program that does not answer.
#[cfg(any(feature = "metrics", feature = "scaler"))]
pub(crate) const FEW: usize = 128;
/// How long a server that was told to stop lets requests end.
const GRACE: Duration = Duration::from_secs(10);
/// Between two tries to take a connection where the system gives none, as when there are too many open files.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

/// A connection that was taken.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only the API asks who is there"))]
    pub(crate) peer: SocketAddr,
    /// Whoever holds a clone says that a request is under way. A server that says it of no request lets the oldest connection give way.
    pub(crate) busy: Arc<()>,
}

/// One that is open.
struct Open {
    task: AbortHandle,
    busy: Arc<()>,
}

impl Open {
    /// Whether a request is under way: one clone is held here, and one by the connection itself.
    fn is_busy(&self) -> bool {
        Arc::strong_count(&self.busy) > 2
    }
}

/// Takes connections until `stop` completes, and then lets those that are open end for ten seconds. Who drops it drops them. Of more than `most` the
/// oldest gives way that has no request under way, and the oldest of all where each has one.
///
/// # Errors
/// Why no more can be taken.
pub(crate) async fn serve<C: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    most: usize,
    stop: impl Future<Output = ()>,
    connection: impl Fn(Connection) -> C,
) -> io::Result<()> {
    let mut stop = std::pin::pin!(stop);
    let mut tasks = JoinSet::new();
    let mut open: VecDeque<Open> = VecDeque::new();
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = stop.as_mut() => break,
            Some(ended) = tasks.join_next_with_id() => {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                open.retain(|open| open.task.id() != id);
                continue;
            }
            taken = take(&listener) => taken?,
        };
        if open.len() >= most {
            let gives_way = open.iter().position(|open| !open.is_busy()).unwrap_or(0);
            if let Some(open) = open.remove(gives_way) {
                open.task.abort();
            }
        }
        let busy = Arc::new(());
        let task = tasks.spawn(connection(Connection { stream, peer, busy: Arc::clone(&busy) }));
        open.push_back(Open { task, busy });
    }
    drop(listener);
    let all_end = async { while tasks.join_next().await.is_some() {} };
    drop(tokio::time::timeout(GRACE, all_end).await);
    Ok(())
}

/// The next connection, and who it is of.
async fn take(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    loop {
        match listener.accept().await {
            Ok(taken) => return Ok(taken),
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A server of two connections: what one says is its name, and from then on it has a request under way if the name begins with `b`. Returns
    /// whether those that were opened with these names are still open after all of them have come.
    async fn open_after(names: &[&str]) -> Vec<bool> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connection = |Connection { mut stream, busy, .. }| async move {
            let kept = Mutex::new(None);
            let mut said = [0];
            while let Ok(1) = stream.read(&mut said).await {
                if said == *b"b" {
                    kept.lock().unwrap().get_or_insert(Arc::clone(&busy));
                }
                stream.write_all(b"!").await.unwrap();
            }
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let clients = async {
            let mut streams = Vec::new();
            for name in names {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(name.as_bytes()).await.unwrap();
                stream.read_exact(&mut [0]).await.unwrap();
                streams.push(stream);
            }
            let mut open = Vec::new();
            for stream in &mut streams {
                let asked = stream.write_all(b"?").await;
                open.push(asked.is_ok() && stream.read_exact(&mut [0]).await.is_ok());
            }
            drop((stop, streams));
            open
        };
        let stop = async { drop(stopped.await) };
        let (served, open) = tokio::join!(serve(listener, 2, stop, connection), clients);
        served.unwrap();
        open
    }

    #[tokio::test]
    async fn the_oldest_that_has_no_request_under_way_gives_way_and_where_each_has_one_the_oldest() {
        assert_eq!(open_after(&["i", "i"]).await, [true, true]);
        assert_eq!(open_after(&["i", "i", "i"]).await, [false, true, true]);
        assert_eq!(open_after(&["b", "i", "i", "i"]).await, [true, false, false, true]);
        assert_eq!(open_after(&["b", "b", "i"]).await, [false, true, true]);
    }
}
