//! What is not there while all is well, and takes no room then.

use super::Liveness;
use crate::time::Timestamp;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The end of a suspect's last chance. For the dead, the moment of the verdict.
    pub(super) verdict: Option<Timestamp>,
    /// Since when part of a frame is here.
    pub(super) frame_begun: Option<Timestamp>,
    /// Since when we do not read.
    pub(super) read_paused: Option<Timestamp>,
}

impl Liveness {
    #[inline]
    pub(super) const fn verdict(&self) -> Option<Timestamp> {
        match &self.trouble {
            Some(trouble) => trouble.verdict,
            None => None,
        }
    }

    #[inline]
    pub(super) const fn frame_begun(&self) -> Option<Timestamp> {
        match &self.trouble {
            Some(trouble) => trouble.frame_begun,
            None => None,
        }
    }

    #[inline]
    pub(super) const fn read_paused(&self) -> Option<Timestamp> {
        match &self.trouble {
            Some(trouble) => trouble.read_paused,
            None => None,
        }
    }

    pub(super) fn set_verdict(&mut self, verdict: Option<Timestamp>) {
        self.change_trouble(|trouble| trouble.verdict = verdict);
    }

    // Out of line, so that what every call takes is small.
    #[inline(never)]
    pub(super) fn change_trouble(&mut self, change: impl FnOnce(&mut Trouble)) {
        change(self.trouble.get_or_insert_default());
        self.trouble.take_if(|trouble| **trouble == Trouble::default());
    }
}
