//! Jobs in the queue, and what an operator says about them.

use crate::exit::Usage;
use crate::out;

/// Longer than any reason that somebody reads.
pub(crate) const REASON_CHARS_MAX: usize = 500;

/// A reason that fits a line of the audit list.
pub(crate) fn check_reason(reason: Option<String>) -> Result<Option<String>, Usage> {
    match reason {
        Some(reason) if reason.chars().count() > REASON_CHARS_MAX => {
            Err(Usage(format!("--reason: say it in {REASON_CHARS_MAX} characters")))
        }
        reason => Ok(reason.map(|reason| out::plain(&reason)).filter(|reason| !reason.trim().is_empty())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_line() {
        assert_eq!(check_reason(Some(" ".to_owned())).unwrap(), None);
        assert_eq!(check_reason(Some("a\nb".to_owned())).unwrap().as_deref(), Some("a b"));
        check_reason(Some("x".repeat(REASON_CHARS_MAX + 1))).unwrap_err();
    }
}
