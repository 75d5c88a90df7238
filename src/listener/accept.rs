use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;
use tokio::net;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::error::SendError;
use tokio_util::sync::CancellationToken;

use super::limit::Room;
use super::socket::{LocalAddress, SocketFile};
use super::{Bound, Connection, Limit};

/// Pauses after the machine could not give us a socket.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// An accepted connection.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Watched by the runtime that accepted it, which is its worker's own.
    Here(Connection),
    /// Non-blocking, on no runtime yet.
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Peer {
    Tcp(SocketAddr),
    /// A process of this machine, by its user and group as the kernel tells them (`SO_PEERCRED`).
    Unix {
        uid: u32,
        gid: u32,
    },
}

/// A connection on its way to a worker.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub stream: Stream,
    /// Number of the door it came through.
    pub door: usize,
    pub peer: Peer,
    /// To be kept as long as the connection.
    pub ticket: Ticket,
}

/// A connection's place: dropping it gives back the worker's load and the room under the limit.
#[derive(Debug)]
#[must_use = "dropping the ticket frees the place of a connection that may still be open"]
pub(crate) struct Ticket {
    _load: Load,
    room: Room,
}

impl Ticket {
    /// Every place was taken: the connection is here to be told so.
    pub(crate) fn is_spare(&self) -> bool {
        self.room.is_spare
    }
}

/// One connection's weight on a worker.
#[derive(Debug)]
struct Load(Arc<AtomicUsize>);

impl Load {
    fn on(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The way to one worker.
#[derive(Clone, Debug)]
pub(crate) struct WorkerPort {
    arrivals: UnboundedSender<Arrival>,
    load: Arc<AtomicUsize>,
    accepts: bool,
}

impl WorkerPort {
    /// A port whose arrivals the worker receives. The channel needs no bound of its own: what is
    /// in it counts against the [`Limit`].
    pub(crate) fn new(arrivals: UnboundedSender<Arrival>) -> Self {
        Self {
            arrivals,
            load: Arc::new(AtomicUsize::new(0)),
            accepts: false,
        }
    }

    /// The port of the worker on whose runtime [`accept()`] runs.
    pub(crate) fn of_who_accepts(self) -> Self {
        Self {
            accepts: true,
            ..self
        }
    }

    /// Connections this worker holds.
    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }
}

/// Takes connections in until `stop`, each handed to the worker with the fewest.
///
/// A socket that stays open elsewhere keeps its queue for the next process: nobody is refused
/// over a restart. Beyond the limit's spare places one connection is held here and the rest wait in the kernel's
/// queue. After `stop`
/// a unix socket's file goes first, then whoever is still in the queue is handed over too: for
/// them the connection is open, and the worker can tell them politely that we are leaving.
/// Returns early only if every worker is gone. Dropping the future closes the door at once;
/// whoever waits in the queue is then reset.
///
/// - Errors: when the socket cannot be watched; the door is closed then.
pub(crate) async fn accept(
    bound: Bound,
    door: usize,
    ports: Vec<WorkerPort>,
    limit: Arc<Limit>,
    stop: CancellationToken,
) -> io::Result<()> {
    let Bound {
        file,
        socket,
        address,
        stays,
    } = bound;
    let queue = Queue::watch(socket, &address)?;
    let mut dispatch = Dispatch {
        door,
        ports,
        turn: 0,
    };
    let open = async {
        loop {
            let (connection, peer) = queue.next().await;
            let Some(room) = limit.enter().await else {
                return;
            };
            if !dispatch.hand_over(Stream::Here(connection), peer, room) {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = open => return Ok(()),
    }
    drop(file);
    if stays {
        return Ok(());
    }
    let rest = queue.into_rest()?;
    while let Some(room) = limit.try_enter() {
        match rest.take() {
            Ok((stream, peer)) => {
                if !dispatch.hand_over(stream, peer, room) {
                    break;
                }
            }
            Err(error) if is_fleeting(&error) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

/// A socket whose few connections are served where they are accepted: the operator's.
pub(crate) struct Incoming {
    // Dropped in this order: nobody must find the file once nobody listens.
    _file: Option<SocketFile>,
    queue: Queue,
}

impl Bound {
    /// Takes connections in one by one, on the runtime of the caller.
    pub(crate) fn incoming(self) -> io::Result<Incoming> {
        let queue = Queue::watch(self.socket, &self.address)?;
        Ok(Incoming {
            _file: self.file,
            queue,
        })
    }
}

impl Incoming {
    /// The next connection. Cancel safe.
    pub(crate) async fn next(&self) -> (Connection, Peer) {
        self.queue.next().await
    }
}

/// The kernel's queue of connections, watched.
enum Queue {
    Tcp(net::TcpListener),
    Unix(net::UnixListener),
}

impl Queue {
    fn watch(socket: OwnedFd, address: &LocalAddress) -> io::Result<Self> {
        Ok(match address {
            LocalAddress::Tcp(_) => Self::Tcp(net::TcpListener::from_std(socket.into())?),
            LocalAddress::Unix(_) => Self::Unix(net::UnixListener::from_std(socket.into())?),
        })
    }

    /// The next connection. Never spins: without file descriptors it pauses, longer each time.
    /// Cancel safe.
    async fn next(&self) -> (Connection, Peer) {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.accept().await {
                Ok(taken) => return taken,
                Err(error) => error,
            };
            if is_fleeting(&error) {
                continue;
            }
            if pause == FIRST_PAUSE {
                tracing::error!(
                    %error,
                    "a connection waits but cannot be accepted; check the limit of open files (`ulimit -n`)"
                );
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn accept(&self) -> io::Result<(Connection, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Connection::Tcp(stream), Peer::Tcp(peer)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let peer = of_unix(&stream)?;
                Ok((Connection::Unix(stream), peer))
            }
        }
    }

    fn into_rest(self) -> io::Result<Rest> {
        Ok(match self {
            Self::Tcp(listener) => Rest::Tcp(listener.into_std()?),
            Self::Unix(listener) => Rest::Unix(listener.into_std()?),
        })
    }
}

/// What is left in the queue when the door closes.
enum Rest {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Rest {
    /// The next connection, without waiting for one: the runtime need not have heard of it yet.
    fn take(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Stream::Tcp(stream), Peer::Tcp(peer)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                let peer = of_unix(&stream)?;
                Ok((Stream::Unix(stream), peer))
            }
        }
    }
}

fn of_unix(stream: impl AsFd) -> io::Result<Peer> {
    let credentials = sockopt::socket_peercred(stream)?;
    Ok(Peer::Unix {
        uid: credentials.uid.as_raw(),
        gid: credentials.gid.as_raw(),
    })
}

/// Errors that concern the one connection which broke while it waited (accept(2), "Error handling").
fn is_fleeting(error: &io::Error) -> bool {
    let Some(errno) = Errno::from_io_error(error) else {
        return false;
    };
    matches!(
        errno,
        Errno::INTR
            | Errno::CONNABORTED
            | Errno::PERM
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::NOTCONN
            | Errno::TIMEDOUT
    )
}

/// Who gets the next connection.
struct Dispatch {
    door: usize,
    ports: Vec<WorkerPort>,
    /// Where the search begins, so that equals take turns.
    turn: usize,
}

impl Dispatch {
    /// Whether any worker is left. A worker that is gone is forgotten, and the connection goes to
    /// the next.
    fn hand_over(&mut self, stream: Stream, peer: Peer, room: Room) -> bool {
        let mut held = (stream, peer, room);
        loop {
            let count = self.ports.len();
            let Some(chosen) = (0..count)
                .map(|step| (self.turn + step) % count)
                .min_by_key(|&at| self.ports[at].load())
            else {
                return false;
            };
            let port = &self.ports[chosen];
            let (stream, peer, room) = held;
            let stream = match stream {
                Stream::Here(connection) if !port.accepts => match connection.unwatched() {
                    Ok(stream) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "an accepted connection could not be handed over");
                        return true;
                    }
                },
                stream @ (Stream::Here(_) | Stream::Tcp(_) | Stream::Unix(_)) => stream,
            };
            let ticket = Ticket {
                _load: Load::on(&port.load),
                room,
            };
            let arrival = Arrival {
                stream,
                door: self.door,
                peer,
                ticket,
            };
            let Err(SendError(back)) = port.arrivals.send(arrival) else {
                self.turn = (chosen + 1) % count;
                return true;
            };
            self.ports.remove(chosen);
            held = (back.stream, back.peer, back.ticket.room);
        }
    }
}
