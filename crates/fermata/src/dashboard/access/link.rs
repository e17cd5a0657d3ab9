//! The link that signs in, once, whoever sees the terminal that the page was started in.

use std::sync::Mutex;

use super::secrets::{self, Digest};

/// The code that is good at the moment, if it was not used yet.
#[derive(Debug, Default)]
pub(crate) struct Link(Mutex<Option<Digest>>);

impl Link {
    /// Makes a code; the one before is void.
    pub(crate) fn renew(&self) -> String {
        let code = secrets::random();
        *self.0.lock().expect("nobody panics while holding it") = Some(Digest::of(&code));
        code
    }

    /// Whether this is the code; it never is again.
    pub(crate) fn take(&self, code: &str) -> bool {
        let mut good = self.0.lock().expect("nobody panics while holding it");
        let is_it = *good == Some(Digest::of(code));
        if is_it {
            *good = None;
        }
        is_it
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_good_once_and_until_the_next() {
        let link = Link::default();
        assert!(!link.take(""));
        let code = link.renew();
        assert_eq!([link.take("x"), link.take(&code), link.take(&code)], [false, true, false]);
        let old = link.renew();
        let new = link.renew();
        assert_eq!([link.take(&old), link.take(&new)], [false, true]);
    }
}
