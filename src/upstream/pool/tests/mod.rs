mod spares;

use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::Empty;
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::*;
use crate::config::{HttpVersion, Origin};

const PATIENCE: Duration = Duration::from_secs(20);

fn settings(http: HttpVersion) -> Upstream {
    Upstream {
        http,
        resolve: std::collections::BTreeMap::default(),
        via: None,
        connect_timeout: Duration::from_secs(5),
        answer_timeout: PATIENCE,
        body_idle_timeout: PATIENCE,
        max_connections: 2,
        warm_connections: 0,
        max_waiting: 100,
        idle_timeout: PATIENCE,
        max_age: PATIENCE,
        dns_ttl: PATIENCE,
        replay_limit: 0,
        replay_budget: 0,
    }
}

/// A pool towards a server that answers 204 to everything.
async fn pool(http: HttpVersion) -> Pool<Empty<Bytes>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(async |_| {
                Ok::<_, Infallible>(
                    Response::builder()
                        .status(204)
                        .body(Empty::<Bytes>::new())
                        .unwrap(),
                )
            });
            let io = TokioIo::new(stream);
            tokio::task::spawn_local(async move {
                hyper_util::server::conn::auto::Builder::new(Local)
                    .serve_connection(io, service)
                    .await
            });
        }
    });
    let origin = Origin {
        host: "127.0.0.1".into(),
        port,
        tls: false,
    };
    let settings = settings(http);
    let endpoint = Endpoint::new(&origin, None, &settings, None).unwrap();
    Pool::new(Arc::new(endpoint), &settings, Arc::new(Meter::new(0, 0)))
}

async fn call(pool: &Pool<Empty<Bytes>>) -> http::StatusCode {
    let mut lease = pool.acquire().await.unwrap();
    let port = pool.endpoint().origin.port;
    let request = Request::get(format!("http://127.0.0.1:{port}/")).header("host", "x");
    let answer = lease
        .send(request.body(Empty::new()).unwrap())
        .await
        .unwrap();
    lease.finish();
    answer.status()
}

async fn locally(test: impl Future<Output = ()>) {
    tokio::time::timeout(PATIENCE, LocalSet::new().run_until(test))
        .await
        .unwrap();
}

#[tokio::test]
async fn who_waits_in_a_pool_that_is_retired_is_served_all_the_same() {
    for http in [HttpVersion::Http1, HttpVersion::Http2] {
        locally(async {
            let pool = pool(http).await;
            let calls = (0..50).map(|_| call(&pool));
            let calls = futures_util::future::join_all(calls);
            // All are in line for the first dial when the pool goes out of service.
            let mut calls = std::pin::pin!(calls);
            assert!(futures_util::poll!(calls.as_mut()).is_pending());
            pool.retire();
            assert!(calls.await.iter().all(|status| *status == 204), "{http:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_hundred_callers_share_two_connections() {
    for http in [HttpVersion::Http1, HttpVersion::Http2] {
        locally(async {
            let pool = pool(http).await;
            let calls = futures_util::future::join_all((0..100).map(|_| call(&pool)));
            assert!(calls.await.iter().all(|status| *status == 204), "{http:?}");
            assert!(pool.0.state.borrow().open <= 2, "{http:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_caller_that_leaves_the_line_leaves_its_connection_to_the_next() {
    locally(async {
        let pool = pool(HttpVersion::Http1).await;
        {
            let mut gone = std::pin::pin!(pool.acquire());
            assert!(futures_util::poll!(gone.as_mut()).is_pending());
        }
        assert_eq!(call(&pool).await, 204);
        assert_eq!(pool.0.state.borrow().open, 1);
    })
    .await;
}
