//! The traffic: every way in, small and large, polite and not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::house::{House, PATIENCE, PROFILE, post};
use crate::tally::Tally;

const LARGE: usize = 256 * 1024;

/// Between two requests of one application: a few hundred a second in all.
const PACE: Duration = Duration::from_millis(40);

/// How an application behaves.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// One connection, request after request.
    KeepAlive,
    /// A connection for each request.
    Fresh,
    /// HTTP/2 with prior knowledge, four requests at once.
    Http2,
    /// A unix socket.
    Unix,
    /// Leaves in the middle of an answer.
    Leaver,
    /// Sends what is not HTTP.
    Hostile,
}

const CROWD: [(Manner, usize); 6] = [
    (Manner::KeepAlive, 8),
    (Manner::Fresh, 2),
    (Manner::Http2, 2),
    (Manner::Unix, 2),
    (Manner::Leaver, 1),
    (Manner::Hostile, 1),
];

pub struct Applications {
    tally: Arc<Tally>,
    connections: Arc<AtomicU64>,
    stop: tokio::sync::watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Applications {
    pub fn start(house: &Arc<House>, tally: &Arc<Tally>) -> Self {
        let connections = Arc::new(AtomicU64::new(0));
        let stop = tokio::sync::watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        let manners = CROWD
            .into_iter()
            .flat_map(|(manner, count)| std::iter::repeat_n(manner, count));
        for (number, manner) in manners.enumerate() {
            let application = Application {
                house: Arc::clone(house),
                tally: Arc::clone(tally),
                connections: Arc::clone(&connections),
                number,
                manner,
            };
            let mut stopped = stop.subscribe();
            tasks.spawn(async move {
                for turn in 0.. {
                    application.session(turn, &stopped).await;
                    if *stopped.borrow() {
                        return;
                    }
                    let _ = tokio::time::timeout(PACE, stopped.changed()).await;
                }
            });
        }
        Self {
            tally: Arc::clone(tally),
            connections,
            stop,
            tasks,
        }
    }

    /// Ends the traffic. Returns how many connections it made.
    pub async fn stop(mut self) -> u64 {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                self.tally
                    .odd(Instant::now(), format!("an application panicked: {error}"));
            }
        }
        self.connections.load(Ordering::Relaxed)
    }
}

struct Application {
    house: Arc<House>,
    tally: Arc<Tally>,
    connections: Arc<AtomicU64>,
    number: usize,
    manner: Manner,
}

type Stopped = tokio::sync::watch::Receiver<bool>;

impl Application {
    /// One connection, until it breaks or the manner wants another.
    async fn session(&self, session: u64, stopped: &Stopped) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let ended = match self.manner {
            Manner::KeepAlive | Manner::Fresh => match TcpStream::connect(self.house.door).await {
                Ok(stream) => self.http1(TokioIo::new(stream), session, stopped).await,
                Err(error) => Err(error.to_string()),
            },
            Manner::Unix => match UnixStream::connect(self.house.site.path("app.sock")).await {
                Ok(stream) => self.http1(TokioIo::new(stream), session, stopped).await,
                Err(error) => Err(error.to_string()),
            },
            Manner::Http2 => self.http2(session, stopped).await,
            Manner::Leaver => self.leave().await,
            Manner::Hostile => self.annoy(session).await,
        };
        if let Err(what) = ended {
            self.tally
                .odd(started, format!("{:?}: {what}", self.manner));
        }
    }

    async fn http1<S>(&self, io: TokioIo<S>, session: u64, stopped: &Stopped) -> Result<(), String>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::handshake(io).await.map_err(|e| e.to_string())?;
        let connection = tokio::spawn(connection);
        for turn in 0..1_000 {
            if *stopped.borrow() || sender.ready().await.is_err() {
                break;
            }
            let started = Instant::now();
            let mut request = self.request(session, turn);
            request
                .headers_mut()
                .insert("host", "localhost".parse().unwrap());
            let wanted = Wanted::of(&request);
            let answer = sender.send_request(request.map(Full::new)).await;
            let whole = self.judge(started, wanted, answer).await;
            if !whole || matches!(self.manner, Manner::Fresh) {
                break;
            }
            tokio::time::sleep(PACE).await;
        }
        connection.abort();
        Ok(())
    }

    async fn http2(&self, session: u64, stopped: &Stopped) -> Result<(), String> {
        let stream = TcpStream::connect(self.house.door)
            .await
            .map_err(|e| e.to_string())?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|e| e.to_string())?;
        let connection = tokio::spawn(connection);
        for turn in 0..250 {
            if *stopped.borrow() || sender.is_closed() {
                break;
            }
            let four = (0..4).map(|lot| {
                let mut sender = sender.clone();
                async move {
                    let started = Instant::now();
                    let mut request = self.request(session, 4 * turn + lot);
                    *request.uri_mut() = format!("http://localhost{}", request.uri())
                        .parse()
                        .unwrap();
                    *request.version_mut() = Version::HTTP_2;
                    let wanted = Wanted::of(&request);
                    let answer = sender.send_request(request.map(Full::new)).await;
                    self.judge(started, wanted, answer).await
                }
            });
            futures_util::future::join_all(four).await;
            tokio::time::sleep(4 * PACE).await;
        }
        connection.abort();
        Ok(())
    }

    /// Asks for much, reads a little, and goes.
    async fn leave(&self) -> Result<(), String> {
        let attempt = async {
            let mut stream = TcpStream::connect(self.house.door).await?;
            // Closed, for what comes in times of trouble is shorter and would be waited for.
            let ask = "GET /v1/simulator/bytes/4000000 HTTP/1.1\r\nhost: localhost\r\n\
                       connection: close\r\n\r\n";
            stream.write_all(ask.as_bytes()).await?;
            let mut some = [0; 1024];
            stream.read_exact(&mut some).await.map(drop)
        };
        attempt
            .await
            .map_err(|error: std::io::Error| error.to_string())?;
        self.tally.fine();
        Ok(())
    }

    /// Says something no server may understand, and must hear so, or be left alone.
    async fn annoy(&self, session: u64) -> Result<(), String> {
        const NOISE: [&[u8]; 4] = [
            b"GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: +5\r\n\r\nhello",
            b"GET / HTTP/1.1\r\nhost : localhost\r\n\r\n",
            b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: xchunked\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        ];
        let noise = NOISE[usize::try_from(session).unwrap_or(0) % NOISE.len()];
        let attempt = async {
            let mut stream = TcpStream::connect(self.house.door).await?;
            stream.write_all(noise).await?;
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await?;
            Ok(heard)
        };
        let heard = tokio::time::timeout(PATIENCE, attempt).await;
        let noise_shown = String::from_utf8_lossy(noise);
        let heard: std::io::Result<Vec<u8>> =
            heard.map_err(|_| format!("{noise_shown:?} was not answered to the end"))?;
        let heard = heard.map_err(|error| error.to_string())?;
        // Whoever says hello in TLS to a plain door could not read what it is told.
        let right = if noise.starts_with(b"\x16\x03") {
            heard.is_empty()
        } else {
            heard.starts_with(b"HTTP/1.1 400 ")
        };
        if right {
            self.tally.fine();
            Ok(())
        } else {
            let heard = String::from_utf8_lossy(&heard[..heard.len().min(60)]).into_owned();
            Err(format!("noise was answered {heard:?}"))
        }
    }

    fn request(&self, session: u64, turn: u64) -> Request<Bytes> {
        match turn % 16 {
            5 => Request::get(format!("/v1/simulator/bytes/{LARGE}"))
                .body(Bytes::new())
                .unwrap(),
            11 => Request::post("/v1/simulator/echo")
                .body(Bytes::from(vec![7; LARGE]))
                .unwrap(),
            n if n % 4 == 2 => {
                let id = format!("soak-{}-{session}-{turn}", self.number);
                let body = json!({ "customerTransactionId": id, "padding": "x".repeat(900) });
                post("/v1/simulator/echo", &body)
            }
            _ => Request::get(format!("/v2/profiles/{PROFILE}"))
                .body(Bytes::new())
                .unwrap(),
        }
    }

    /// Compares an answer with what Wise gives to a good token; whether the connection goes on.
    async fn judge(
        &self,
        started: Instant,
        wanted: Wanted,
        answer: hyper::Result<http::Response<hyper::body::Incoming>>,
    ) -> bool {
        let (head, body) = match answer {
            Ok(answer) => answer.into_parts(),
            Err(error) => {
                self.tally.odd(started, format!("no answer: {error}"));
                return false;
            }
        };
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                self.tally.odd(started, format!("answer cut: {error}"));
                return false;
            }
        };
        let whose = if head.headers.contains_key("proxy-status") {
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            problem["type"].as_str().unwrap_or("nothing").to_owned()
        } else {
            "Wise's own".to_owned()
        };
        if head.status != 200 {
            self.tally
                .odd(started, format!("{} {whose}", head.status.as_u16()));
        } else if !wanted.is(&body) {
            self.tally.odd(started, "another body".into());
        } else {
            self.tally.fine();
        }
        true
    }
}

/// What the body of the right answer is.
enum Wanted {
    Bytes(usize),
    Echo(usize),
    Profile,
}

impl Wanted {
    fn of(request: &Request<Bytes>) -> Self {
        let path = request.uri().path();
        if let Some(length) = path.strip_prefix("/v1/simulator/bytes/") {
            Self::Bytes(length.parse().unwrap())
        } else if path.ends_with("/echo") {
            Self::Echo(request.body().len())
        } else {
            Self::Profile
        }
    }

    fn is(&self, body: &Bytes) -> bool {
        let json = || serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
        match self {
            Self::Bytes(length) => body.len() == *length,
            Self::Echo(length) => json()["bytes"].as_u64() == Some(*length as u64),
            Self::Profile => json()["id"].as_u64() == Some(PROFILE),
        }
    }
}
