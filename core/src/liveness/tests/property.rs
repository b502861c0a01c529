//! The published bound holds, and nobody alive is declared dead.

use super::*;
use crate::entropy::Prng;

/// A peer that is alive until `death`, on a path that then swallows everything or takes nothing.
struct Peer {
    death: Timestamp,
    takes_after_death: bool,
    /// When it says its next words: the answer to a beat, or a beat of its own.
    words: Vec<(Timestamp, Option<u32>)>,
}

fn draw(prng: &mut Prng) -> LivenessConfig {
    let reply = prng.between(10, 5000);
    let interval = reply + prng.between(0, 30_000);
    let stall = reply + prng.between(0, 20_000);
    let builder = LivenessConfig::builder()
        .interval(interval as u32 * MS)
        .reply_timeout(reply as u32 * MS)
        .jitter_percent(prng.between(0, 50) as u8)
        .probes(prng.between(0, 16) as u8)
        .write_stall(stall as u32 * MS)
        .stall_limit((stall + prng.between(0, 60_000)) as u32 * MS)
        .frame_time(Duration::from_secs(86_400));
    builder.initial_rtt(Duration::from_micros(prng.between(0, reply * 1000 - 1))).build().unwrap()
}

/// Runs one link, waking only at deadlines and when something arrives. The moment of the verdict and its cause.
fn run(liveness: &mut Liveness, judgement: Judgement, peer: &mut Peer, prng: &mut Prng) -> (Timestamp, DeathCause) {
    let reply = liveness.reply_timeout();
    let (mut now, mut unwritten) = (Timestamp::ZERO, false);
    loop {
        let due = liveness.poll_timeout().expect("a living link has a deadline");
        assert!(due.at > now || now == Timestamp::ZERO);
        let word = peer.words.iter().min().copied().filter(|(at, _)| *at <= due.at && *at < peer.death);
        if let Some(word) = word {
            now = now.max(word.0);
            peer.words.retain(|other| *other != word);
            liveness.received(now);
            match word.1 {
                Some(seq) => liveness.echo_received(now, seq),
                // A device beats by itself, at the interval or up to a tenth earlier.
                None => peer
                    .words
                    .push((now.after(liveness.interval().mul_f64(prng.between(90, 100) as f64 / 100.0)), None)),
            }
        } else {
            now = due.at;
            liveness.handle_timeout(now);
        }
        while let Some(action) = liveness.poll_action() {
            match action {
                SendBeat { seq } => {
                    liveness.write_pending(now);
                    if now < peer.death || peer.takes_after_death {
                        liveness.write_progressed(now, true);
                        liveness.beat_written(now);
                        let answer = now.after(Duration::from_nanos(prng.between(1, reply.as_nanos() as u64 - 1)));
                        peer.words.push((answer, Some(seq)));
                    } else {
                        unwritten = true;
                    }
                }
                DeclareDead(report) => {
                    assert!(report.cause != DeathCause::WriteStalled || unwritten);
                    assert_eq!(report.evidence.local_stalls, 0);
                    return (now, report.cause);
                }
                _ if judgement == Judgement::RoundTrip => {
                    assert!(
                        action == Measured || now >= peer.death,
                        "{action:?} at {now:?}, alive until {:?}",
                        peer.death
                    );
                }
                _ => {}
            }
        }
    }
}

#[test]
fn every_verdict_on_a_dead_peer_is_inside_the_published_bound() {
    let mut tightest = 0.0_f64;
    for seed in 0..4000 {
        let mut prng = Prng::new(seed);
        let config = Arc::new(draw(&mut prng));
        let bound = config.worst_case_detection();
        let judgement = [Judgement::RoundTrip, Judgement::OneWay][prng.between(0, 1) as usize];
        let death = Timestamp::from_nanos(prng.between(1, 6 * config.interval().as_nanos() as u64));
        let words = match judgement {
            Judgement::RoundTrip => Vec::new(),
            Judgement::OneWay => std::vec![(Timestamp::ZERO.after(config.interval() / 2), None)],
        };
        let mut peer = Peer { death, takes_after_death: prng.between(0, 1) == 0, words };
        let mut liveness = Liveness::new(config, judgement, Timestamp::ZERO, seed);
        let (verdict, cause) = run(&mut liveness, judgement, &mut peer, &mut prng);
        assert!(verdict >= death, "seed {seed}: {cause:?} at {verdict:?}, but it was alive until {death:?}");
        assert!(
            verdict.since(death) <= bound,
            "seed {seed}: {cause:?} after {:?}, bound {bound:?}",
            verdict.since(death)
        );
        tightest = tightest.max(verdict.since(death).as_secs_f64() / bound.as_secs_f64());
    }
    assert!(tightest > 0.95, "the bound is loose: no verdict took more than {tightest} of it");
}
