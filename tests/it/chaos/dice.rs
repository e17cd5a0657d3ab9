//! Luck that follows from a seed, so that a storm can be had again.

/// `SplitMix64`.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Any number up to this one.
    pub(super) fn up_to(&mut self, most: u64) -> u64 {
        self.roll() % (most + 1)
    }

    /// Any place among so many.
    pub(super) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.roll() % count as u64).expect("it is less than a usize")
    }

    /// Any of these, if there is one.
    pub(super) fn one_of(&mut self, these: &[usize]) -> Option<usize> {
        if these.is_empty() { None } else { Some(these[self.below(these.len())]) }
    }
}
