//! MQTT packets, read and written by a client: ours beside other codecs. `keepbeat_benches::mqtt` says what the work is. Of long
//! copies the same holds as of `frames`. And whole sessions of clients: `keepbeat_benches::mqtt_session`.

use keepbeat_benches::mqtt::{
    Copied, CoreReading, CoreWriting, Load, MqttbytesReading, MqttbytesWriting, OursBorrowing, OursReading,
    OursSending, OursWriting, Reader, RumqttcReading, RumqttcWriting, Stream, Writer,
};

use keepbeat_benches::mqtt_session::{CoreSession, OursSession, Pair, RumqttcSession, Session, Work};

use super::{Case, counted_operation};

pub(super) fn cases() -> Vec<Case> {
    let all = |load| {
        [
            reads::<OursReading>(load),
            reads::<MqttbytesReading>(load),
            reads::<RumqttcReading>(load),
            reads::<CoreReading>(load),
            writes::<OursWriting>(load),
            writes::<OursSending>(load),
            writes::<MqttbytesWriting>(load),
            writes::<RumqttcWriting>(load),
            writes::<CoreWriting>(load),
        ]
    };
    let messages = || Load::ALL.into_iter().filter(|load| load.payload().is_some());
    let (borrowed, floors) = (messages().map(reads::<OursBorrowing>), messages().map(reads::<Copied>));
    let all_sessions =
        |work| [session::<OursSession>(work), session::<RumqttcSession>(work), session::<CoreSession>(work)];
    let sessions = Work::ALL.into_iter().flat_map(all_sessions);
    Load::ALL.into_iter().flat_map(all).chain(borrowed).chain(floors).chain(sessions).collect()
}

fn reads<R: Reader>(load: Load) -> Case {
    let name = format!("mqtt/reads/{}/{}", load.name(), R::NAME);
    Case::new(name, load.packets(), 2, move |times| {
        let stream = Stream::new(load);
        let all = stream.found();
        let mut reader = R::new(stream);
        for _ in 0..times {
            let found = counted_operation(|| reader.read());
            if found != all {
                return Err(format!("{found:?} is not all: {all:?}"));
            }
        }
        Ok(())
    })
}

fn session<S: Session>(work: Work) -> Case {
    let name = format!("mqtt/session/{}/{}", work.name(), S::NAME);
    Case::new(name, 1, 300, move |times| {
        let mut pair = Pair::<S>::new()?;
        for round in 1..=times {
            let seen = counted_operation(|| pair.round(work));
            let expected = work.seen(round.into());
            if (seen.sent, seen.delivered, seen.faults) != (expected.sent, expected.delivered, 0) {
                return Err(format!("{seen:?} is not {expected:?}"));
            }
        }
        Ok(())
    })
}

fn writes<W: Writer>(load: Load) -> Case {
    let name = format!("mqtt/writes/{}/{}", load.name(), W::NAME);
    Case::new(name, load.packets(), 2, move |times| {
        let mut writer = W::new(load);
        for turn in 1..=times {
            let written = counted_operation(|| writer.write(load.packets()));
            if written < u64::from(turn) * load.packets() {
                return Err(format!("{written} bytes are not all"));
            }
        }
        Ok(())
    })
}
