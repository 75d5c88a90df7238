use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::socket::LocalAddress;
use super::*;
use crate::config::DoorAddress;

/// A door with its workers' receiving ends.
struct Opened {
    address: LocalAddress,
    workers: Vec<UnboundedReceiver<Arrival>>,
    limit: Arc<Limit>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Opened {
    fn with(address: &DoorAddress, workers: usize, most: usize) -> Self {
        let bound = bind(address).unwrap();
        let address = bound.local_address().clone();
        let (ports, workers) = (0..workers)
            .map(|_| {
                let (arrivals, worker) = unbounded_channel();
                (WorkerPort::new(arrivals), worker)
            })
            .unzip();
        let limit = Arc::new(Limit::new(most));
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(accept(bound, 7, ports, Arc::clone(&limit), stop.clone()));
        tasks.close();
        Self {
            address,
            workers,
            limit,
            stop,
            tasks,
        }
    }

    fn tcp(workers: usize, most: usize) -> Self {
        Self::with(&any_port(), workers, most)
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address.tcp().unwrap()).unwrap()
    }
}

fn any_port() -> DoorAddress {
    DoorAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn socket_at(path: &Path) -> DoorAddress {
    DoorAddress::Unix {
        path: path.to_owned(),
        mode: 0o660,
        owner: None,
    }
}

fn tcp_of(arrival: &Arrival) -> &TcpStream {
    match &arrival.stream {
        Stream::Tcp(stream) => stream,
        Stream::Unix(_) | Stream::Here(_) => panic!("a TCP door hands over TCP streams"),
    }
}

#[tokio::test]
async fn a_connection_arrives_at_a_worker_ready_for_its_runtime() {
    let mut door = Opened::tcp(1, 10);
    let mut client = door.connect();

    let arrival = door.workers[0].recv().await.unwrap();

    assert_eq!(arrival.door, 7);
    assert_eq!(arrival.peer, Peer::Tcp(client.local_addr().unwrap()));
    assert!(tcp_of(&arrival).nodelay().unwrap());
    // Moves to another runtime and works there.
    let Stream::Tcp(stream) = arrival.stream else {
        panic!("a TCP door hands over TCP streams")
    };
    client.write_all(b"ping").unwrap();
    let heard = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async move {
                let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
                let mut heard = [0; 4];
                tokio::io::AsyncReadExt::read_exact(&mut stream, &mut heard)
                    .await
                    .unwrap();
                heard
            })
    })
    .join()
    .unwrap();
    assert_eq!(&heard, b"ping");
}

#[tokio::test]
async fn the_worker_with_the_fewest_connections_gets_the_next() {
    let mut door = Opened::tcp(2, 10);
    let _clients: Vec<_> = (0..4).map(|_| door.connect()).collect();
    let mut first = Vec::new();
    let mut second = Vec::new();
    for _ in 0..2 {
        first.push(door.workers[0].recv().await.unwrap());
        second.push(door.workers[1].recv().await.unwrap());
    }

    // Two connections end on the second worker: the next two are its.
    second.clear();
    let _more = [door.connect(), door.connect()];
    second.push(door.workers[1].recv().await.unwrap());
    second.push(door.workers[1].recv().await.unwrap());

    assert!(
        door.workers[0].try_recv().is_err(),
        "the loaded worker must get none"
    );
}

#[tokio::test]
async fn beyond_the_limit_the_next_connection_comes_in_only_to_be_told() {
    let mut door = Opened::tcp(1, 2);
    let _clients = [door.connect(), door.connect()];
    let one = door.workers[0].recv().await.unwrap();
    let two = door.workers[0].recv().await.unwrap();
    assert!(!one.ticket.is_spare() && !two.ticket.is_spare());
    assert_eq!(door.limit.open(), 2);
    assert_eq!(door.limit.reached(), 0, "two of two is not too many");

    let third = door.connect();
    let arrival = door.workers[0].recv().await.unwrap();
    assert_eq!(arrival.peer, Peer::Tcp(third.local_addr().unwrap()));
    assert!(arrival.ticket.is_spare());
    assert_eq!(door.limit.open(), 2);
    assert_eq!(door.limit.reached(), 1);
    drop(arrival);
    drop(one);

    let _fourth = door.connect();
    let arrival = door.workers[0].recv().await.unwrap();
    assert!(!arrival.ticket.is_spare(), "there is room again");
}

#[tokio::test]
async fn beyond_the_spare_places_the_next_connection_waits() {
    let mut door = Opened::tcp(1, 2);
    let _clients = [door.connect(), door.connect(), door.connect()];
    let one = door.workers[0].recv().await.unwrap();
    let _two = door.workers[0].recv().await.unwrap();
    let spare = door.workers[0].recv().await.unwrap();
    assert!(spare.ticket.is_spare());

    let fourth = door.connect();
    while door.limit.reached() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(door.workers[0].try_recv().is_err());
    drop(one);
    drop(spare);

    let arrival = door.workers[0].recv().await.unwrap();
    assert_eq!(arrival.peer, Peer::Tcp(fourth.local_addr().unwrap()));
    assert!(!arrival.ticket.is_spare(), "it waited until there was room");
}

#[tokio::test]
async fn a_connection_for_a_worker_that_is_gone_goes_to_another() {
    let mut door = Opened::tcp(2, 10);
    drop(door.workers.remove(0));

    let client = door.connect();

    let arrival = door.workers[0].recv().await.unwrap();
    assert_eq!(arrival.peer, Peer::Tcp(client.local_addr().unwrap()));
    assert_eq!(
        door.limit.open(),
        1,
        "the failed attempt must hold no place"
    );
}

#[tokio::test]
async fn a_stop_hands_over_whoever_is_already_in_the_queue() {
    let bound = bind(&any_port()).unwrap();
    let address = bound.local_address().tcp().unwrap();
    let clients: Vec<_> = (0..3)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let (arrivals, mut worker) = unbounded_channel();
    let stop = CancellationToken::new();
    stop.cancel();

    accept(
        bound,
        0,
        vec![WorkerPort::new(arrivals)],
        Arc::new(Limit::new(10)),
        stop,
    )
    .await
    .unwrap();

    for client in &clients {
        let arrival = worker.recv().await.unwrap();
        assert_eq!(arrival.peer, Peer::Tcp(client.local_addr().unwrap()));
    }
    assert!(
        TcpStream::connect(address).is_err(),
        "the door must be closed"
    );
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_command_that_shows_by_whom() {
    let bound = bind(&any_port()).unwrap();
    let address = bound.local_address().tcp().unwrap();

    let error = bind(&DoorAddress::Tcp(address)).unwrap_err();

    assert_eq!(
        error.to_string(),
        format!("cannot listen on {address}: it is in use; `ss -ltnp` shows by whom")
    );
}

#[test]
fn an_address_of_another_machine_is_named() {
    // 192.0.2.0/24 is for documentation (RFC 5737): nobody has it.
    let address = SocketAddr::from(([192, 0, 2, 1], 0));
    assert!(matches!(
        bind(&DoorAddress::Tcp(address)),
        Err(ListenerError::NoSuchAddress { .. })
    ));
}

#[tokio::test]
async fn a_unix_door_has_its_mode_tells_the_user_and_is_gone_after_a_stop() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let mut door = Opened::with(&socket_at(&path), 1, 10);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);

    let mut client = UnixStream::connect(&path).unwrap();
    let arrival = door.workers[0].recv().await.unwrap();
    let own = std::fs::metadata(directory.path()).unwrap();
    let (me, group) = (own.uid(), own.gid());
    assert_eq!(
        arrival.peer,
        Peer::Unix {
            uid: me,
            gid: group
        }
    );
    let Stream::Unix(mut stream) = arrival.stream else {
        panic!("a unix door hands over unix streams")
    };
    stream.write_all(b"pong").unwrap();
    let mut heard = [0; 4];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"pong");

    door.stop.cancel();
    door.tasks.wait().await;
    assert!(!path.exists(), "a stop must remove the socket's file");
}

#[test]
fn a_socket_that_a_dead_process_left_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());

    let bound = bind(&socket_at(&path)).unwrap();

    assert!(UnixStream::connect(&path).is_ok());
    drop(bound);
    assert!(!path.exists());
}

#[test]
fn a_socket_that_somebody_answers_on_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let _theirs = UnixListener::bind(&path).unwrap();

    let error = bind(&socket_at(&path)).unwrap_err();

    assert!(matches!(error, ListenerError::Answered { .. }), "{error}");
    assert!(UnixStream::connect(&path).is_ok());
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    std::fs::write(&path, "precious").unwrap();

    let error = bind(&socket_at(&path)).unwrap_err();

    assert!(matches!(error, ListenerError::NotASocket { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_door_never_removes_the_socket_that_took_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let bound = bind(&socket_at(&path)).unwrap();
    std::fs::remove_file(&path).unwrap();
    let _theirs = UnixListener::bind(&path).unwrap();

    drop(bound);

    assert!(UnixStream::connect(&path).is_ok());
}

#[tokio::test]
async fn who_waits_at_a_door_that_another_process_keeps_open_is_left_for_the_next_of_us() {
    let kept = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = kept.local_addr().unwrap();
    let bound = adopt(kept.try_clone().unwrap().into()).unwrap();
    assert!(bound.fits(&DoorAddress::Tcp(address)).unwrap());
    assert!(!bound.fits(&any_port()).unwrap());
    let clients = [(); 3].map(|()| TcpStream::connect(address).unwrap());

    let (arrivals, mut worker) = unbounded_channel();
    let stop = CancellationToken::new();
    stop.cancel();
    let limit = Arc::new(Limit::new(10));
    let ports = vec![WorkerPort::new(arrivals)];
    accept(bound, 0, ports, limit, stop).await.unwrap();

    assert!(worker.try_recv().is_err(), "nobody was taken in");
    for _ in clients {
        // It does not wait: whoever is not there now was lost.
        kept.accept().unwrap();
    }
}

#[test]
fn a_unix_socket_that_lets_in_more_than_the_door_would_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let kept = UnixListener::bind(&path).unwrap();
    let bound = adopt(kept.try_clone().unwrap().into()).unwrap();
    for (mode, fits) in [(0o600, true), (0o660, true), (0o770, true), (0o666, false)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let answer = bound.fits(&socket_at(&path));
        assert_eq!(answer.is_ok_and(|fits| fits), fits, "{mode:o}");
    }

    let own = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    let wanted = |mode, owner: String| DoorAddress::Unix {
        path: path.clone(),
        mode,
        owner: Some(owner),
    };
    for (mode, wanted, fits) in [
        (0o660, wanted(0o660, format!("{own}:{group}")), true),
        // Where the group may not connect, it does not matter which it is.
        (0o600, wanted(0o660, ":64002".to_owned()), true),
        (0o660, wanted(0o660, ":64002".to_owned()), false),
        (0o660, wanted(0o666, ":64002".to_owned()), true),
        // We, who made it, have the tokens.
        (0o600, wanted(0o600, "64001".to_owned()), true),
    ] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let answer = bound.fits(&wanted);
        assert_eq!(answer.is_ok_and(|fits| fits), fits, "{mode:o} {wanted:?}");
    }
    if rustix::process::geteuid().is_root() {
        let theirs = |mode| wanted(mode, "64001:64002".to_owned());
        for (user, gid, mode, wanted, fits) in [
            (64_001, 64_002, 0o660, theirs(0o660), true),
            (0, 64_002, 0o660, theirs(0o660), true),
            (64_003, 64_002, 0o660, theirs(0o660), false),
            (64_003, 64_002, 0o060, theirs(0o660), true),
            (64_001, 64_003, 0o660, theirs(0o660), false),
            (64_001, 64_003, 0o666, theirs(0o666), true),
            (64_001, group, 0o600, socket_at(&path), false),
            (own, 64_002, 0o660, socket_at(&path), false),
        ] {
            std::os::unix::fs::chown(&path, Some(user), Some(gid)).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let answer = bound.fits(&wanted);
            let said = format!("{user}:{gid} {mode:o} {wanted:?}: {answer:?}");
            assert_eq!(answer.is_ok_and(|fits| fits), fits, "{said}");
        }
        let said = bound.fits(&wanted(0o660, ":64004".to_owned())).unwrap_err();
        let said = said.to_string();
        assert!(said.contains("SocketGroup=64004"), "{said}");
    }
    drop(bound);
    assert!(path.exists(), "its file is who opened it's");
}

#[test]
fn a_socket_is_given_to_its_owner_before_it_listens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let owned = |owner: &str| DoorAddress::Unix {
        path: path.clone(),
        mode: 0o660,
        owner: Some(owner.to_owned()),
    };
    if rustix::process::geteuid().is_root() {
        let bound = bind(&owned("4241:4242")).unwrap();
        let found = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid()), (4241, 4242));
        assert_eq!(found.mode() & 0o777, 0o660);
        drop(bound);
    } else {
        let refused = bind(&owned(":0")).unwrap_err();
        assert!(
            matches!(refused, ListenerError::NotOurs { .. }),
            "{refused}"
        );
        assert!(!path.exists(), "nothing is left behind");
    }
    let nobody = bind(&owned("no-such-user")).unwrap_err().to_string();
    assert!(
        nobody.contains("no user is called `no-such-user`"),
        "{nobody}"
    );
    assert!(!path.exists(), "nothing is left behind");
}
