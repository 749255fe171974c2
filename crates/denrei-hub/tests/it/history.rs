//! What a client may see of a room, and a checker that objects to everything else.

use std::collections::BTreeMap;

use denrei_hub::Position;

/// What a client received about one room.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// It was attached when the room stood here, as the client of this id.
    Joined { place: Position, client: String },
    /// A message.
    Message { place: Position, payload: String },
    /// Numbers that could not be replayed.
    Gap { epoch: String, from: u64, to: u64 },
}

/// All that was ever committed in one room, by the life of its log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    pub(crate) lives: BTreeMap<String, Life>,
    /// The present life.
    pub(crate) epoch: String,
}

/// One life of a room's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Life {
    /// Number 1 first.
    pub(crate) records: Vec<Record>,
    /// Numbers up to this one are no longer kept.
    pub(crate) forgotten: u64,
}

/// What was committed under one number.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) payload: String,
    /// The client that published it.
    pub(crate) from: Option<String>,
}

/// One client's sight of one room, over all its connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// Everything up to here was seen, told to be lost, or the client's own; none before the first join.
    pub(crate) place: Option<Position>,
    joined: Option<(Position, String)>,
}

impl View {
    /// Takes in what the client received next.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn see(&mut self, event: &Event, truth: &Truth) -> Result<(), String> {
        match event {
            Event::Joined { place, client } => {
                self.place.get_or_insert_with(|| place.clone());
                self.joined = Some((place.clone(), client.clone()));
                Ok(())
            }
            Event::Message { place, payload } => self.see_message(place, payload, truth),
            Event::Gap { epoch, from, to } => self.see_gap(epoch, *from, *to, truth),
        }
    }

    /// Checks that nothing is outstanding.
    ///
    /// # Errors
    /// What has never arrived.
    pub(crate) fn finish(&self, truth: &Truth) -> Result<(), String> {
        let Some(place) = &self.place else { return Err("never joined".into()) };
        if place.epoch.as_str() != truth.epoch {
            return Err(format!("stands at {place}, but the room lives in {}", truth.epoch));
        }
        let head = truth.lives[&truth.epoch].records.len() as u64;
        self.all_own(place.seq.0 + 1..head + 1, place.epoch.as_str(), truth)
    }

    fn see_message(&mut self, at: &Position, payload: &str, truth: &Truth) -> Result<(), String> {
        let Some(place) = &self.place else { return Err(format!("{at} before any join")) };
        if at.epoch != place.epoch {
            return Err(format!("{at} follows {place} without a word about the change"));
        }
        if at.seq <= place.seq {
            return Err(format!("{at} follows {place}: a duplicate, or out of order"));
        }
        self.all_own(place.seq.0 + 1..at.seq.0, at.epoch.as_str(), truth)?;
        let record = truth.record(at.epoch.as_str(), at.seq.0)?;
        if record.payload != payload {
            return Err(format!("{at} is {payload}, but {} was committed", record.payload));
        }
        if self.is_own(at.epoch.as_str(), at.seq.0, truth) {
            return Err(format!("{at} was the client's own"));
        }
        self.place = Some(at.clone());
        Ok(())
    }

    fn see_gap(&mut self, epoch: &str, from: u64, to: u64, truth: &Truth) -> Result<(), String> {
        let Some(place) = &self.place else { return Err("a gap before any join".into()) };
        let life = truth.lives.get(epoch).ok_or_else(|| format!("a gap in {epoch}, which never was"))?;
        let same = epoch == place.epoch.as_str();
        // After a change of epoch a client reloads, and is given the newest 1,000 at most.
        let newest = if same { 0 } else { (life.records.len() as u64).saturating_sub(1000) };
        if to > life.forgotten.max(newest) {
            return Err(format!("a gap up to {epoch}:{to}, but only numbers up to {} are lost", life.forgotten));
        }
        let follows = if same { place.seq.0 < from && from <= to } else { from == 0 };
        if !follows {
            return Err(format!("a gap {from}..{to} in {epoch} follows {place}"));
        }
        if same {
            self.all_own(place.seq.0 + 1..from, epoch, truth)?;
        }
        let place = format!("{epoch}:{to}").parse().map_err(|_| "a gap without a position")?;
        self.place = Some(place);
        Ok(())
    }

    /// What may be left out without a word: what the client sent by itself.
    fn all_own(&self, numbers: std::ops::Range<u64>, epoch: &str, truth: &Truth) -> Result<(), String> {
        for seq in numbers {
            truth.record(epoch, seq)?;
            if !self.is_own(epoch, seq, truth) {
                let record = truth.record(epoch, seq)?;
                return Err(format!("{epoch}:{seq} is missing: {record:?}, {self:?}"));
            }
        }
        Ok(())
    }

    /// Published by this connection after it joined: what is earlier is a replay, which leaves nothing out.
    fn is_own(&self, epoch: &str, seq: u64, truth: &Truth) -> bool {
        self.joined.as_ref().is_some_and(|(joined, client)| {
            let from = truth.record(epoch, seq).ok().and_then(|record| record.from.as_ref());
            from == Some(client) && (joined.epoch.as_str() != epoch || seq > joined.seq.0)
        })
    }
}

impl Truth {
    fn record(&self, epoch: &str, seq: u64) -> Result<&Record, String> {
        let life = self.lives.get(epoch).ok_or_else(|| format!("{epoch} never was"))?;
        let at = usize::try_from(seq).ok().and_then(|seq| seq.checked_sub(1));
        at.and_then(|at| life.records.get(at)).ok_or_else(|| format!("{epoch}:{seq} was never committed"))
    }
}

/// Checks of the checker: a test that cannot fail is a defect.
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_true_history_passes() {
        assert_eq!(judge(&history(), &truth()), Ok(()));
    }

    proptest! {
        #[test]
        fn a_history_with_a_message_dropped_is_objected_to(at in messages()) {
            let mut history = history();
            history.remove(at);
            prop_assert!(judge(&history, &truth()).is_err());
        }

        #[test]
        fn a_history_with_a_message_twice_is_objected_to(at in messages(), later in 0_usize..4) {
            let mut history = history();
            let again = history[at].clone();
            history.insert((at + 1 + later).min(history.len()), again);
            prop_assert!(judge(&history, &truth()).is_err());
        }

        #[test]
        fn a_history_with_two_events_swapped_is_objected_to(at in 3_usize..=12) {
            let mut history = history();
            history.swap(at, at + 1);
            prop_assert!(judge(&history, &truth()).is_err());
        }

        #[test]
        fn a_history_with_another_payload_is_objected_to(at in messages()) {
            let mut history = history();
            if let Event::Message { payload, .. } = &mut history[at] {
                payload.push('!');
            }
            prop_assert!(judge(&history, &truth()).is_err());
        }

        #[test]
        fn a_gap_that_claims_too_much_is_objected_to(more in 1_u64..3) {
            let mut history = history();
            let Event::Gap { to, .. } = &mut history[8] else { panic!("the gap") };
            *to += more;
            prop_assert!(judge(&history, &truth()).is_err());
        }
    }

    #[test]
    fn a_gap_untold_is_objected_to() {
        for gap in [3, 8] {
            let mut history = history();
            history.remove(gap);
            assert!(judge(&history, &truth()).is_err());
        }
    }

    #[test]
    fn an_own_message_delivered_is_objected_to() {
        let mut history = history();
        history.insert(6, message("a", 7));
        assert!(judge(&history, &truth()).unwrap_err().contains("own"));
    }

    /// Joined at 2, numbers up to 4 forgotten, 7 its own; then another life, whose first number is forgotten.
    fn history() -> Vec<Event> {
        vec![
            Event::Joined { place: at("a", 1), client: "me".into() },
            message("a", 2),
            Event::Joined { place: at("a", 6), client: "me".into() },
            Event::Gap { epoch: "a".into(), from: 3, to: 4 },
            message("a", 5),
            message("a", 6),
            message("a", 8),
            message("a", 9),
            Event::Gap { epoch: "b".into(), from: 0, to: 1 },
            message("b", 2),
            message("b", 3),
            message("b", 4),
            message("b", 5),
            message("b", 6),
        ]
    }

    /// Where messages stand in it whose absence must be noticed: after the last of a life nothing follows on it.
    fn messages() -> impl Strategy<Value = usize> {
        prop_oneof![Just(1_usize), 4_usize..=6, 9_usize..=13]
    }

    fn truth() -> Truth {
        let record = |seq: u64| Record { payload: seq.to_string(), from: (seq == 7).then(|| "me".into()) };
        let a = Life { records: (1..=9).map(record).collect(), forgotten: 4 };
        let b = Life { records: (1..=6).map(record).collect(), forgotten: 1 };
        Truth { lives: BTreeMap::from([("a".into(), a), ("b".into(), b)]), epoch: "b".into() }
    }

    fn judge(history: &[Event], truth: &Truth) -> Result<(), String> {
        let mut view = View::default();
        history.iter().try_for_each(|event| view.see(event, truth))?;
        view.finish(truth)
    }

    fn message(epoch: &str, seq: u64) -> Event {
        Event::Message { place: at(epoch, seq), payload: seq.to_string() }
    }

    fn at(epoch: &str, seq: u64) -> Position {
        format!("{epoch}:{seq}").parse().unwrap()
    }
}
