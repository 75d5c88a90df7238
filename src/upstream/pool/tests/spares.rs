//! Connections that lie ready. The clock stands still while anything moves, so hours pass at once.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::*;

const TICK: Duration = Duration::from_millis(500);
const MINUTE: Duration = Duration::from_mins(1);

/// A server that says nothing by itself, and who has come to it.
struct Server {
    address: SocketAddr,
    came: watch::Receiver<usize>,
    open: Rc<RefCell<Vec<AbortHandle>>>,
}

impl Server {
    /// Answers 204 to everything.
    async fn start() -> Self {
        Self::with(async |stream| {
            let service = service_fn(async |_| {
                let answer = Response::builder().status(204);
                Ok::<_, Infallible>(answer.body(Empty::<Bytes>::new()).unwrap())
            });
            let io = TokioIo::new(stream);
            let http = hyper_util::server::conn::auto::Builder::new(Local);
            let _ = http.serve_connection(io, service).await;
        })
        .await
    }

    async fn with(serve: impl AsyncFn(TcpStream) + Copy + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count, came) = watch::channel(0);
        let open = Rc::<RefCell<Vec<AbortHandle>>>::default();
        let kept = Rc::clone(&open);
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let task = tokio::task::spawn_local(async move { serve(stream).await });
                kept.borrow_mut().push(task.abort_handle());
                count.send_modify(|count| *count += 1);
            }
        });
        Self {
            address,
            came,
            open,
        }
    }

    /// Waits until so many connections have been made since the start.
    async fn met(&self, count: usize) {
        self.came
            .clone()
            .wait_for(|came| *came >= count)
            .await
            .unwrap();
    }

    fn hang_up(&self) {
        for connection in self.open.borrow_mut().drain(..) {
            connection.abort();
        }
    }
}

fn pool_to(address: SocketAddr, settings: &Upstream) -> Pool<Empty<Bytes>> {
    let origin = Origin {
        host: address.ip().to_string(),
        port: address.port(),
        tls: false,
    };
    let endpoint = Endpoint::new(&origin, None, settings, None).unwrap();
    Pool::new(Arc::new(endpoint), settings, Arc::new(Meter::new(0, 0)))
}

fn warm(http: HttpVersion, connections: usize) -> Upstream {
    Upstream {
        max_connections: 100,
        warm_connections: connections,
        ..settings(http)
    }
}

/// As [`warm`], with times of which several pass in a test.
fn lasting(http: HttpVersion, connections: usize) -> Upstream {
    Upstream {
        idle_timeout: Duration::from_secs(45),
        max_age: 10 * MINUTE,
        ..warm(http, connections)
    }
}

fn dials(pool: &Pool<Empty<Bytes>>) -> u64 {
    pool.0.meter.dials.read()
}

/// As the worker does, for a while.
async fn time_passes(pool: &Pool<Empty<Bytes>>, time: Duration, mut at_tick: impl FnMut()) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        pool.sweep(true);
        tokio::time::sleep(TICK).await;
        at_tick();
    }
}

/// Whether a request would find a connection.
fn is_warm(pool: &Pool<Empty<Bytes>>) -> bool {
    pool.ready().map(Lease::finish).is_some()
}

#[tokio::test]
async fn a_first_request_takes_the_connection_that_lies_ready_or_is_on_its_way() {
    for http in [HttpVersion::Http1, HttpVersion::Http2] {
        locally(async {
            let server = Server::start().await;
            let pool = pool_to(server.address, &warm(http, 1));
            pool.sweep(true);
            assert_eq!(call(&pool).await, 204);
            assert_eq!(dials(&pool), 1, "{http:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_server_closes_is_there_again_without_a_request() {
    for (http, connections) in [(HttpVersion::Http1, 3), (HttpVersion::Http2, 1)] {
        locally(async {
            let server = Server::start().await;
            let pool = pool_to(server.address, &warm(http, 3));
            // So that it does not look like a server that hangs up on everybody.
            time_passes(&pool, Duration::from_secs(5), || ()).await;
            assert_eq!(call(&pool).await, 204);
            assert_eq!(dials(&pool), connections as u64, "{http:?}");

            server.hang_up();

            server.met(2 * connections).await;
            time_passes(&pool, TICK, || ()).await;
            assert!(is_warm(&pool), "{http:?}");
            assert_eq!(dials(&pool), 2 * connections as u64, "{http:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_dialled_ahead_where_nobody_goes_or_none_is_wanted() {
    for (wanted, in_use) in [(0, true), (3, false)] {
        LocalSet::new()
            .run_until(async {
                let server = Server::start().await;
                let pool = pool_to(server.address, &warm(HttpVersion::Http1, wanted));
                for round in 0..3 {
                    for _ in 0..120 {
                        pool.sweep(in_use);
                        tokio::time::sleep(TICK).await;
                    }
                    let state = (dials(&pool), pool.0.state.borrow().open);
                    assert_eq!(state, (round, 0), "{wanted} {in_use}");
                    assert_eq!(call(&pool).await, 204);
                }
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_spares_of_a_lane_that_is_left_end_when_their_time_is_over() {
    LocalSet::new()
        .run_until(async {
            let server = Server::start().await;
            let pool = pool_to(server.address, &warm(HttpVersion::Http1, 3));
            time_passes(&pool, Duration::from_secs(5), || ()).await;
            assert!(is_warm(&pool));
            for _ in 0..120 {
                pool.sweep(false);
                tokio::time::sleep(TICK).await;
            }
            assert_eq!((dials(&pool), pool.0.state.borrow().open), (3, 0));
        })
        .await;
}

#[tokio::test]
async fn spares_leave_room_for_nothing_beyond_the_limit() {
    locally(async {
        let server = Server::start().await;
        let settings = Upstream {
            max_connections: 2,
            ..warm(HttpVersion::Http1, 10)
        };
        let pool = pool_to(server.address, &settings);
        tokio::time::pause();
        time_passes(&pool, Duration::from_secs(12), || ()).await;
        assert_eq!((dials(&pool), pool.0.state.borrow().open), (2, 2));
    })
    .await;
}

#[tokio::test]
async fn a_second_connection_is_there_before_the_streams_of_the_first_are_used_up() {
    locally(async {
        let server = Server::start().await;
        let pool = pool_to(server.address, &warm(HttpVersion::Http2, 1));
        pool.sweep(true);
        assert_eq!(call(&pool).await, 204);
        let mut leases = Vec::new();
        for _ in 0..74 {
            leases.push(pool.acquire().await.unwrap());
        }
        assert_eq!(dials(&pool), 1);
        leases.push(pool.acquire().await.unwrap());
        assert_eq!(dials(&pool), 1, "it is dialled beside the requests");
        server.met(2).await;
        // No more than that, however many come.
        for _ in 0..50 {
            leases.push(pool.acquire().await.unwrap());
        }
        assert_eq!(dials(&pool), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connections_that_a_burst_has_made_go_although_requests_go_on() {
    LocalSet::new()
        .run_until(async {
            let server = Server::start().await;
            let pool = pool_to(server.address, &lasting(HttpVersion::Http2, 1));
            assert_eq!(call(&pool).await, 204);
            let mut burst = Vec::new();
            for _ in 0..250 {
                burst.push(pool.acquire().await.unwrap());
            }
            let loads = || -> Vec<_> {
                let state = pool.0.state.borrow();
                let shared = state.shared.iter();
                shared.map(|shared| shared.load.streams.get()).collect()
            };
            assert_eq!(loads(), [100, 100, 50], "the oldest first");
            drop(burst);
            // Three at once, all the time.
            for _ in 0..50 {
                let calls = (0..3).map(|_| call(&pool));
                futures_util::future::join_all(calls).await;
                time_passes(&pool, Duration::from_secs(1), || ()).await;
            }
            assert_eq!((loads().len(), dials(&pool)), (1, 3));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_may_take_no_more_is_left_out_wherever_it_stands() {
    LocalSet::new()
        .run_until(async {
            let server = Server::start().await;
            let pool = pool_to(server.address, &lasting(HttpVersion::Http2, 1));
            let mut burst = Vec::new();
            for _ in 0..250 {
                burst.push(pool.acquire().await.unwrap());
            }
            // The second has room again, and is no longer trusted.
            let stays = burst.swap_remove(100);
            stays.distrust();
            drop(burst.drain(110..120));
            let _next = pool.acquire().await.unwrap();
            let state = pool.0.state.borrow();
            let loads = state.shared.iter().map(|it| it.load.streams.get());
            assert_eq!(loads.collect::<Vec<_>>(), [100, 51]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_spare_is_replaced_before_it_has_been_idle_too_long_and_not_more_often() {
    for (http, connections) in [(HttpVersion::Http1, 3), (HttpVersion::Http2, 1)] {
        LocalSet::new()
            .run_until(async {
                let server = Server::start().await;
                let pool = pool_to(server.address, &lasting(http, 3));
                // The first tells that there have to be more.
                time_passes(&pool, 2 * TICK, || ()).await;
                let mut cold = 0;
                let watched = pool.clone();
                time_passes(&pool, 30 * MINUTE, || {
                    // Looking must not count as use.
                    let state = watched.0.state.borrow();
                    let (now, limits) = (Instant::now(), &watched.0.limits);
                    let idle = state.idle.iter().filter(|it| it.is_fit(now, limits, None));
                    let shared = state.shared.iter();
                    let shared = shared.filter(|it| it.is_fit(now, limits.age, None));
                    cold += usize::from(idle.count() + shared.count() < connections);
                })
                .await;
                assert_eq!(cold, 0, "{http:?}");
                // Every forty seconds.
                let dials = dials(&pool) / connections as u64;
                assert!((40..=47).contains(&dials), "{http:?}: {dials}");
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_there_or_hangs_up_at_once_is_dialled_ever_more_rarely() {
    for refuses in [true, false] {
        LocalSet::new()
            .run_until(async {
                let server = Server::with(async |stream| drop(stream)).await;
                let address = if refuses {
                    // Free again.
                    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    gone.local_addr().unwrap()
                } else {
                    server.address
                };
                let pool = pool_to(address, &warm(HttpVersion::Http1, 4));
                let mut minutes = Vec::new();
                for _ in 0..10 {
                    let before = dials(&pool);
                    time_passes(&pool, MINUTE, || ()).await;
                    minutes.push(dials(&pool) - before);
                }
                // 0, 1, 3, 7, 15, 31 s; then every half minute.
                assert!((5..=10).contains(&minutes[0]), "{refuses}: {minutes:?}");
                let later = &minutes[1..];
                assert!(
                    later.iter().all(|it| (1..=2).contains(it)),
                    "{refuses}: {minutes:?}"
                );
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_back_finds_the_pool_warm_again() {
    LocalSet::new()
        .run_until(async {
            let lost = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = lost.local_addr().unwrap();
            drop(lost);
            let pool = pool_to(address, &warm(HttpVersion::Http1, 4));
            time_passes(&pool, 5 * MINUTE, || ()).await;
            assert!(!is_warm(&pool));

            let back = TcpListener::bind(address).await.unwrap();
            let held = tokio::task::spawn_local(async move {
                let mut held = Vec::new();
                loop {
                    held.push(back.accept().await.unwrap());
                }
            });
            time_passes(&pool, MINUTE, || ()).await;

            assert_eq!(pool.0.state.borrow().idle.len(), 4);
            held.abort();
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_after_each_answer_finds_the_next_connection_ready() {
    LocalSet::new()
        .run_until(async {
            let server = Server::start().await;
            let pool = pool_to(server.address, &warm(HttpVersion::Http1, 1));
            for round in 1..=20 {
                time_passes(&pool, 2 * TICK, || ()).await;
                assert_eq!(dials(&pool), round);
                assert_eq!(call(&pool).await, 204);
                server.hang_up();
                while pool.0.state.borrow().open > 0 {
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
}
