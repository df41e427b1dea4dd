//! Redis on several machines: replicas, sentinels, a cluster.

use serde_json::json;
use testbed::DEADLINE;
use testbed::redis::{Options, Sentinel, Server};

use crate::contract::Subject as _;
use crate::events::{bodies, deliver_all, deliver_soon, deliver_to_nobody, event, events, made};
use crate::redis::{KEY, List};
use crate::redis_faults::refused;

#[tokio::test]
async fn a_replica_is_unavailable_and_tells_whom_to_write_to() {
    let master = List::start().await;
    let replica = List::with(Options::default().replica_of(&master.server)).await;
    let to = replica.made(json!({}));
    testbed::until("the replica is in step", DEADLINE, async || {
        let why = to.deliver(&events(1)).await.unavailable.unwrap();
        let code = why.cause.code.clone();
        (code == "redis READONLY").then_some(()).ok_or(code)
    })
    .await
    .unwrap();
    let why = refused(&*to).await;
    assert!(why.starts_with("redis READONLY"), "{why}");
    assert!(why.contains("master's address"), "{why}");
    replica
        .server
        .execute(&["REPLICAOF", "NO", "ONE"])
        .await
        .unwrap();
    to.probe().await.unwrap();
    deliver_all(&*to, &events(20)).await;
    // One that takes writes all the same loses them when it next copies its master.
    let port = master.server.addr().port().to_string();
    let server = &replica.server;
    server
        .execute(&["CONFIG", "SET", "replica-read-only", "no"])
        .await
        .unwrap();
    server
        .execute(&["REPLICAOF", "127.0.0.1", &port])
        .await
        .unwrap();
    testbed::until("the replica is in step", DEADLINE, async || {
        let found = to.inspect().await.map_err(|why| why.to_string())?;
        let told = format!("{found:?}");
        told.contains("thrown away").then_some(()).ok_or(told)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_server_that_waits_for_replicas_before_it_takes_anything_is_unavailable() {
    let options = Options::default().with_setting("min-replicas-to-write", "1");
    let subject = List::with(options).await;
    let why = refused(&*subject.made(json!({}))).await;
    assert!(why.starts_with("redis NOREPLICAS"), "{why}");
}

#[tokio::test]
async fn what_the_replicas_do_not_have_is_not_delivered() {
    let subject = List::start().await;
    let to = subject.made(json!({"wait_replicas": 1, "timeout": "1s"}));
    assert_eq!(deliver_to_nobody(&*to, &events(5)).await, "redis replicas");
    let found = to.inspect().await.unwrap();
    assert!(
        found[0].text.contains("0 replicas are connected"),
        "{found:?}"
    );
    let mut replica = Server::start_new(Options::default().replica_of(&subject.server))
        .await
        .unwrap();
    deliver_soon(&*to, &events(5)).await;
    let copied = replica.list(KEY).await.unwrap();
    assert_eq!(copied, subject.server.list(KEY).await.unwrap());
    assert_eq!(to.inspect().await.unwrap(), vec![]);
    let careless = subject.made(json!({}));
    let found = careless.inspect().await.unwrap();
    assert!(found[0].text.contains("wait_replicas = 1"), "{found:?}");
    replica.kill().await.unwrap();
    assert_eq!(deliver_to_nobody(&*to, &events(5)).await, "redis replicas");
    deliver_all(&*careless, &events(5)).await;
}

#[tokio::test]
async fn the_first_host_that_can_be_reached_is_taken() {
    let subject = List::start().await;
    let nobody = testbed::port::Lease::take().unwrap();
    let url = format!("redis://{},{}", nobody.addr(), subject.server.addr());
    let to = made(&json!({"type": "redis", "url": url, "list": KEY}));
    deliver_all(&*to, &events(3)).await;
    assert_eq!(subject.count().await, 3);
}

#[tokio::test]
async fn sentinels_lead_to_the_master_and_after_a_failover_to_the_next() {
    let mut master = List::start().await;
    let replica = List::with(Options::default().replica_of(&master.server)).await;
    let sentinel = Sentinel::start_new(&master.server, "shop").await.unwrap();
    let nobody = testbed::port::Lease::take().unwrap();
    let section = |name: &str| {
        json!({
            "type": "redis", "list": KEY, "sentinel": {"master": name}, "wait_replicas": 1,
            "url": format!("redis://{},{}", nobody.addr(), sentinel.addr()),
        })
    };
    let to = made(&section("shop"));
    deliver_soon(&*to, &events(100)).await;
    assert_eq!(replica.arrived().await, bodies(&events(100)));
    let why = made(&section("shoe")).probe().await.unwrap_err();
    assert_eq!(why.cause.code, "redis sentinel");
    assert!(why.cause.detail.contains("knows no master"), "{why}");
    testbed::until("the sentinel knows the replica", DEADLINE, async || {
        let told: Vec<Vec<String>> = sentinel
            .ask(&["SENTINEL", "REPLICAS", "shop"])
            .await
            .map_err(|error| error.to_string())?;
        let good = told.iter().any(|one| one.contains(&"ok".to_owned()));
        good.then_some(()).ok_or(format!("{told:?}"))
    })
    .await
    .unwrap();
    master.server.kill().await.unwrap();
    deliver_to_nobody(&*to, &events(3)).await;
    // The new master has no replica of its own yet.
    let mut alone = section("shop");
    alone["wait_replicas"] = 0.into();
    let to = made(&alone);
    let fresh = event(1000, "/", b"fresh");
    deliver_soon(&*to, std::slice::from_ref(&fresh)).await;
    let arrived = replica.arrived().await;
    assert_eq!(arrived.len(), 101);
    assert_eq!(arrived[&fresh.stored.id.to_string()], b"fresh");
}

#[tokio::test]
async fn a_cluster_is_written_at_the_node_that_has_the_key_also_after_it_has_moved() {
    let node = || Server::start_new(Options::default().with_cluster());
    let (a, b) = (node().await.unwrap(), node().await.unwrap());
    let lonely = made(&json!({"type": "redis", "url": a.url(), "list": KEY}));
    assert_eq!(
        deliver_to_nobody(&*lonely, &events(1)).await,
        "redis CLUSTERDOWN"
    );
    Server::join_into_cluster(&[&a, &b]).await.unwrap();
    let slot: u16 = a.ask(&["CLUSTER", "KEYSLOT", KEY]).await.unwrap();
    let (owner, other) = if slot < 8192 { (&a, &b) } else { (&b, &a) };
    // Only the node that has not got the key is named.
    let to = made(&json!({"type": "redis", "url": other.url(), "list": KEY}));
    to.probe().await.unwrap();
    assert_eq!(to.inspect().await.unwrap(), vec![]);
    deliver_all(&*to, &events(500)).await;
    assert_eq!(owner.list(KEY).await.unwrap().len(), 500);
    let fresh = made(&json!({"type": "redis", "url": other.url(), "list": KEY}));
    deliver_all(&*fresh, &events(500)).await;
    let database = format!("{}/1", other.url());
    let wrong = made(&json!({"type": "redis", "url": database, "list": KEY}));
    assert_eq!(deliver_to_nobody(&*wrong, &events(1)).await, "redis db");

    // The slot goes over while it is empty.
    owner.execute(&["DEL", KEY]).await.unwrap();
    let id: String = other.ask(&["CLUSTER", "MYID"]).await.unwrap();
    let slot = slot.to_string();
    for node in [other, owner] {
        let set = ["CLUSTER", "SETSLOT", &slot, "NODE", &id];
        node.execute(&set).await.unwrap();
    }
    deliver_all(&*to, &events(300)).await;
    assert_eq!(other.list(KEY).await.unwrap().len(), 300);
    to.probe().await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_down_is_named_and_found_again() {
    // Long enough that the other node does not give it up meanwhile.
    let options = || {
        let options = Options::default().with_cluster();
        options.with_setting("cluster-node-timeout", "120000")
    };
    let mut a = Server::start_new(options()).await.unwrap();
    let mut b = Server::start_new(options()).await.unwrap();
    Server::join_into_cluster(&[&a, &b]).await.unwrap();
    let slot: u16 = a.ask(&["CLUSTER", "KEYSLOT", KEY]).await.unwrap();
    let (owner, other) = if slot < 8192 {
        (&mut a, &b)
    } else {
        (&mut b, &a)
    };
    let to = made(&json!({"type": "redis", "url": other.url(), "list": KEY}));
    deliver_all(&*to, &events(3)).await;
    owner.kill().await.unwrap();
    deliver_to_nobody(&*to, &events(3)).await;
    let why = to.deliver(&events(3)).await.unavailable.unwrap();
    assert_eq!(why.cause.code, "refused");
    let place = owner.addr().to_string();
    assert!(why.cause.detail.contains(&place), "{why}");
    assert_eq!(to.probe().await.unwrap_err().cause.code, "refused");
    owner.start().await.unwrap();
    deliver_soon(&*to, &events(3)).await;
    assert_eq!(owner.list(KEY).await.unwrap().len(), 6);
}
