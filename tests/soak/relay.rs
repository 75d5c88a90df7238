//! A wire to Wise that can be cut: connections reset, nobody listening, and back on the same port.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

pub struct Relay {
    port: u16,
    /// Raised while the wire is whole.
    whole: Arc<watch::Sender<bool>>,
}

impl Relay {
    pub fn to(wise: SocketAddr) -> Self {
        let whole = Arc::new(watch::Sender::new(true));
        // Bound and never listening: the port stays ours while nobody listens on it.
        let place = bind(0);
        let port = place.local_addr().unwrap().port();
        tokio::spawn(run(place, port, wise, whole.subscribe()));
        Self { port, whole }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Resets every connection and refuses new ones.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

fn bind(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, port).into()).unwrap();
    socket
}

async fn run(_place: TcpSocket, port: u16, wise: SocketAddr, whole: watch::Receiver<bool>) {
    let mut listener = None;
    let mut news = whole.clone();
    loop {
        let open = listener.get_or_insert_with(|| bind(port).listen(1024).unwrap());
        let arrived = tokio::select! {
            arrived = open.accept() => Some(arrived),
            _ = news.wait_for(|whole| !whole) => None,
        };
        match arrived {
            Some(Ok((stream, _))) => {
                tokio::spawn(carry(stream, wise, whole.clone()));
            }
            Some(Err(_)) => {}
            None => {
                listener = None;
                if news.wait_for(|whole| *whole).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn carry(mut down: TcpStream, wise: SocketAddr, mut whole: watch::Receiver<bool>) {
    let Ok(mut up) = TcpStream::connect(wise).await else {
        return;
    };
    let _ = down.set_nodelay(true);
    let _ = up.set_nodelay(true);
    let cut = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut down, &mut up) => false,
        _ = whole.wait_for(|whole| !whole) => true,
    };
    if cut {
        // Closing with a reset, as a machine that went away is heard of.
        let _ = down.set_zero_linger();
        let _ = up.set_zero_linger();
    }
}
