use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, sockopt};
use tokio::io::unix::AsyncFd;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::error::SendError;
use tokio_util::sync::CancellationToken;

use super::{Bound, Limit};

/// Pauses after the machine could not give us a socket.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// An accepted connection: non-blocking, on no runtime yet.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Peer {
    Tcp(SocketAddr),
    /// A process of this machine, by its user as the kernel tells it.
    Unix {
        uid: u32,
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
    room: OwnedSemaphorePermit,
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
}

impl WorkerPort {
    /// A port whose arrivals the worker receives. The channel needs no bound of its own: what is
    /// in it counts against the [`Limit`].
    pub(crate) fn new(arrivals: UnboundedSender<Arrival>) -> Self {
        Self {
            arrivals,
            load: Arc::new(AtomicUsize::new(0)),
        }
    }

    /// Connections this worker holds.
    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }
}

/// Takes connections in until `stop`, each handed to the worker with the fewest.
///
/// At the limit one connection is held here and the rest wait in the kernel's queue. After `stop`
/// a unix socket's file goes first, then whoever is still in the queue is handed over too: for
/// them the connection is open, and the worker can tell them politely that we are leaving.
/// Returns early only if every worker is gone. Dropping the future closes the door at once;
/// whoever waits in the queue is then reset.
///
/// - Errors: when the socket cannot be watched; the door is closed then.
pub(crate) async fn accept(
    mut bound: Bound,
    door: usize,
    ports: Vec<WorkerPort>,
    limit: Arc<Limit>,
    stop: CancellationToken,
) -> io::Result<()> {
    let queue = Queue {
        listener: AsyncFd::register(bound.socket.try_clone()?)?,
        tcp: bound.local_address().tcp().is_some(),
    };
    let mut dispatch = Dispatch {
        door,
        ports,
        turn: 0,
    };
    let open = async {
        loop {
            let (stream, peer) = queue.next().await?;
            let Some(room) = limit.enter().await else {
                return Ok(());
            };
            if !dispatch.hand_over(stream, peer, room) {
                return Ok(());
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        ended = open => return ended,
    }
    bound.hide();
    while let Some(room) = limit.try_enter() {
        match queue.take() {
            Ok((stream, peer)) => {
                if !dispatch.hand_over(stream, peer, room) {
                    break;
                }
            }
            Err(errno) if is_fleeting(errno) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

/// The kernel's queue of connections.
struct Queue {
    listener: AsyncFd<OwnedFd>,
    tcp: bool,
}

impl Queue {
    /// The next connection. Never spins: without file descriptors it pauses, longer each time.
    /// Cancel safe.
    async fn next(&self) -> io::Result<(Stream, Peer)> {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut guard = self.listener.readable().await?;
            match self.take() {
                Ok(taken) => {
                    guard.retain_ready();
                    return Ok(taken);
                }
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(errno) if is_fleeting(errno) => guard.retain_ready(),
                Err(errno) => {
                    guard.retain_ready();
                    if pause == FIRST_PAUSE {
                        tracing::error!(
                            error = %io::Error::from(errno),
                            "a connection waits but cannot be accepted; check the limit of open files (`ulimit -n`)"
                        );
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn take(&self) -> Result<(Stream, Peer), Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (socket, address) = rustix::net::acceptfrom_with(self.listener.get_ref(), flags)?;
        if self.tcp {
            // An answer's last small piece must not wait for the acknowledgement before it.
            sockopt::set_tcp_nodelay(&socket, true)?;
            let address = SocketAddr::try_from(address.ok_or(Errno::NOTCONN)?)?;
            Ok((Stream::Tcp(socket.into()), Peer::Tcp(address)))
        } else {
            let uid = sockopt::socket_peercred(&socket)?.uid.as_raw();
            Ok((Stream::Unix(socket.into()), Peer::Unix { uid }))
        }
    }
}

/// Errors that concern the one connection which broke while it waited (accept(2), "Error handling").
fn is_fleeting(errno: Errno) -> bool {
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
    fn hand_over(&mut self, stream: Stream, peer: Peer, room: OwnedSemaphorePermit) -> bool {
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
