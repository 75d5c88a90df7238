//! When a delivery is tried again.

use super::*;

#[tokio::test]
async fn a_receiver_that_is_down_is_tried_as_often_as_wise_does_with_the_same_bytes() {
    let house = House::hooked().await;
    house.wise.change_faults(|faults| faults.webhook.minute = 0);
    let receiver = Receiver::http().await;
    receiver.then((0..25).map(|_| Script::Answer(503, None)));
    house.subscribe(None, to(&receiver)).await;
    house.wise.publish(EVENT, None, json!({"a": 1}));
    let delivery = house.settled(1).await.remove(0);
    assert_eq!(delivery.state, DeliveryState::Failed);
    assert_eq!(delivery.attempts.len(), 25);
    let pauses: Vec<u64> = delivery
        .attempts
        .iter()
        .filter_map(|attempt| Some(attempt.next_in? / 60_000))
        .collect();
    assert_eq!(pauses.len(), 24);
    assert_eq!(pauses[..4], [1, 2, 4, 8]);
    assert_eq!(pauses[23], 24 * 60);
    let arrived = receiver.taken();
    assert_eq!(arrived.len(), 25);
    for arrived in &arrived {
        assert_eq!(arrived.body, delivery.body.as_bytes());
        assert_eq!(arrived.header("x-delivery-id"), Some(delivery.id.as_str()));
    }
}

#[tokio::test]
async fn what_the_receiver_answers_decides_on_the_next_attempt() {
    let house = House::hooked().await;
    let receiver = Receiver::http().await;
    house.subscribe(None, to(&receiver)).await;
    house
        .wise
        .change_faults(|faults| faults.webhook.answer_limit = 300);
    for (script, expected, state) in [
        (
            vec![Script::Answer(204, None)],
            vec![Some(204)],
            DeliveryState::Delivered,
        ),
        (
            vec![Script::Redirect, Script::Answer(500, None)],
            vec![Some(307), Some(500), Some(200)],
            DeliveryState::Delivered,
        ),
        (
            (0..3).map(|_| Script::Answer(410, None)).collect(),
            vec![Some(410); 3],
            DeliveryState::Failed,
        ),
        (
            vec![Script::Hang],
            vec![None, Some(200)],
            DeliveryState::Delivered,
        ),
        (
            vec![
                Script::Answer(429, Some("180")),
                Script::Answer(503, Some("Fri, 11 Apr 2025 03:43:28 GMT")),
            ],
            vec![Some(429), Some(503), Some(200)],
            DeliveryState::Delivered,
        ),
    ] {
        receiver.then(script);
        let before = house.wise.deliveries().len();
        house.wise.publish(EVENT, None, json!({}));
        let delivery = house.settled(before + 1).await.remove(before);
        assert_eq!(statuses(&delivery), expected);
        assert_eq!(delivery.state, state);
        if expected[0] == Some(429) {
            assert_eq!(delivery.attempts[0].next_in, Some(180_000));
            assert_eq!(delivery.attempts[1].next_in, Some(0));
        }
        if expected[0].is_none() {
            let error = delivery.attempts[0].error.as_deref().unwrap();
            assert_eq!(error, "no answer within the limit");
        }
    }
}
