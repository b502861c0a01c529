//! What the outbox keeps, drops and hands out.

use super::*;

const NOW: Timestamp = Timestamp::ZERO;

fn message(length: usize) -> Message {
    Message::from(alloc::vec![7; length])
}

fn outbox(limits: QueueLimits, messages: usize) -> Outbox {
    let mut outbox = Outbox::new(limits);
    for _ in 0..messages {
        outbox.push(NOW, message(10)).unwrap();
    }
    outbox
}

fn seqs(outbox: &mut Outbox) -> alloc::vec::Vec<u64> {
    core::iter::from_fn(|| outbox.next_to_send()).map(|(seq, _)| seq).collect()
}

#[test]
fn unacknowledged_messages_leave_again_with_the_same_numbers() {
    let mut outbox = outbox(QueueLimits::default(), 4);
    assert_eq!(seqs(&mut outbox), [1, 2, 3, 4]);
    assert_eq!(outbox.acknowledge(2), Ok(Some(Ticket(2))));
    assert_eq!(outbox.resume(3), Ok(Some(Ticket(3))));
    assert_eq!(seqs(&mut outbox), [4]);
    assert_eq!(outbox.acknowledge(4), Ok(Some(Ticket(4))));
    assert!(outbox.is_empty());
}

#[test]
fn an_acknowledgement_of_more_than_was_sent_is_an_error_and_of_less_is_nothing() {
    let mut outbox = outbox(QueueLimits::default(), 3);
    outbox.next_to_send();
    outbox.next_to_send();
    assert_eq!(outbox.acknowledge(3), Err(SequenceError { got: 3, lowest: 0, highest: 2 }));
    assert_eq!(outbox.acknowledge(2), Ok(Some(Ticket(2))));
    assert_eq!(outbox.acknowledge(1), Ok(None));
    assert_eq!(outbox.acknowledge(2), Ok(None));
}

#[test]
fn a_resume_with_foreign_numbers_is_an_error() {
    let mut outbox = outbox(QueueLimits::default(), 3);
    seqs(&mut outbox);
    outbox.acknowledge(2).unwrap();
    assert!(outbox.resume(1).is_err(), "already acknowledged");
    assert!(outbox.resume(4).is_err(), "never sent");
    assert_eq!(outbox.restart(), 1);
    assert_eq!(seqs(&mut outbox), [1]);
}

#[test]
fn numbers_pass_the_32_bit_boundary() {
    let mut outbox = outbox(QueueLimits::default(), 3);
    outbox.acknowledged = u64::from(u32::MAX) - 1;
    assert_eq!(seqs(&mut outbox).last(), Some(&(u64::from(u32::MAX) + 2)));
    assert_eq!(outbox.acknowledge(u64::from(u32::MAX) + 1), Ok(Some(Ticket(2))));
}

#[test]
fn it_is_bounded_by_count_and_by_bytes() {
    for limits in [QueueLimits::new(3, 1000), QueueLimits::new(1000, 39)] {
        let mut outbox = outbox(limits.unwrap(), 3);
        let refused = outbox.push(NOW, message(10)).unwrap_err();
        assert!(matches!(refused, SendError::Full { messages: 3, bytes: 30, .. }), "{refused}");
        assert_eq!(refused.into_message(), message(10));
    }
    let too_large = Outbox::new(QueueLimits::new(3, 39).unwrap()).push(NOW, message(40)).unwrap_err();
    assert!(matches!(too_large, SendError::TooLarge { limit: 39, .. }));
    assert!(QueueLimits::new(0, 1).is_err() && QueueLimits::new(1, 0).is_err());
}

#[test]
fn the_oldest_make_room_but_never_one_that_has_left() {
    let limits = QueueLimits::new(3, 1000).unwrap().overflow(Overflow::DropOldest);
    let mut outbox = outbox(limits, 3);
    outbox.next_to_send();
    let dropped = outbox.overflow(10).unwrap();
    assert_eq!((dropped.ticket, dropped.reason), (Ticket(2), DropReason::Overflow));
    assert_eq!(outbox.overflow(10), None);
    assert_eq!(outbox.push(NOW, message(10)), Ok(Ticket(4)));
    assert_eq!(seqs(&mut outbox), [2, 3], "no gap in the numbers");
    assert_eq!(outbox.overflow(10), None, "all have left");
    assert!(outbox.push(NOW, message(10)).is_err());
}

#[test]
fn nothing_is_dropped_for_a_message_that_would_not_fit_anyway() {
    let mut outbox = outbox(QueueLimits::new(9, 30).unwrap().overflow(Overflow::DropOldest), 3);
    outbox.next_to_send();
    assert_eq!(outbox.overflow(25), None);
    assert_eq!(outbox.len(), 3);
}

#[test]
fn messages_that_have_not_left_grow_too_old() {
    let mut outbox = outbox(QueueLimits::default().max_age(Duration::from_secs(5)), 2);
    outbox.next_to_send();
    let limit = NOW.after(Duration::from_secs(5));
    assert_eq!(outbox.next_expiry(), Some(limit));
    assert_eq!(outbox.expire(NOW.after(Duration::from_millis(4999))), None);
    assert_eq!(outbox.expire(limit).map(|dropped| dropped.ticket), Some(Ticket(2)));
    assert_eq!((outbox.expire(limit), outbox.next_expiry()), (None, None));
}

#[test]
fn a_message_may_have_a_lifetime_of_its_own() {
    let mut outbox = Outbox::new(QueueLimits::default().max_age(Duration::from_secs(9)));
    let after = |seconds| NOW.after(Duration::from_secs(seconds));
    let lifetime = |seconds| Some(Duration::from_secs(seconds));
    for lifetime in [None, lifetime(20), lifetime(5), lifetime(3)] {
        outbox.push_for(NOW, message(10), lifetime).unwrap();
    }
    assert_eq!(outbox.next_expiry(), Some(after(3)));
    let dropped =
        |outbox: &mut Outbox, now| core::iter::from_fn(|| outbox.expire(now)).map(|one| one.ticket.0).collect();
    let at_5: alloc::vec::Vec<_> = dropped(&mut outbox, after(5));
    assert_eq!((at_5, outbox.next_expiry()), (alloc::vec![3, 4], Some(after(9))));
    let at_9: alloc::vec::Vec<_> = dropped(&mut outbox, after(9));
    assert_eq!((at_9, outbox.next_expiry()), (alloc::vec![1, 2], None));
}

#[test]
fn what_has_left_does_not_grow_too_old_until_its_session_ends() {
    let mut outbox = outbox(QueueLimits::default().max_age(Duration::from_secs(5)), 2);
    seqs(&mut outbox);
    assert_eq!(outbox.next_expiry(), None);
    outbox.restart();
    assert_eq!(outbox.next_expiry(), Some(NOW.after(Duration::from_secs(5))));
}
