//! The judgement judged: which repeats a fault explains. It takes no time, and so runs always.

use chrono::{DateTime, TimeDelta, Utc};

use crate::faults::{Befallen, Fault};
use crate::judgement::Judgement;
use crate::receipts::Receipt;

/// Something befalls `hurt` from second 100 to second 110. Who delivers first and at which second, and who repeats it.
type Repeat = (Fault, (&'static str, i64), (&'static str, i64));

pub(crate) fn only_what_befell_whoever_delivered_first_or_woke_explains_a_repeat() {
    let (killed, frozen, stopped) = (Fault::Killed, Fault::Frozen, Fault::Stopped);
    let explained: [Repeat; 5] = [
        (killed, ("hurt", 95), ("other", 107)),
        (frozen, ("hurt", 95), ("other", 107)),
        (frozen, ("hurt", 95), ("hurt", 130)),
        // It delivers when it wakes, before it knows: behind the others, or before they come to it.
        (frozen, ("other", 107), ("hurt", 111)),
        (frozen, ("hurt", 111), ("other", 112)),
    ];
    for repeat in explained {
        assert_eq!(unexplained(repeat), 0, "{repeat:?}");
    }
    let not_explained: [Repeat; 8] = [
        (stopped, ("hurt", 99), ("other", 107)),
        (killed, ("hurt", 80), ("other", 107)),
        // What befell the second one afterwards is no reason.
        (killed, ("other", 94), ("hurt", 95)),
        (frozen, ("other", 94), ("hurt", 95)),
        (killed, ("other", 107), ("hurt", 111)),
        (killed, ("hurt", 112), ("other", 113)),
        (frozen, ("other", 107), ("hurt", 120)),
        (killed, ("other", 95), ("another", 107)),
    ];
    for repeat in not_explained {
        assert_eq!(unexplained(repeat), 1, "{repeat:?}");
    }
}

fn unexplained((fault, first, second): Repeat) -> usize {
    let at = |second: i64| DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(second);
    let receipt = |(member, second): (&str, i64)| Receipt {
        at: at(second),
        event: "event".to_owned(),
        member: member.to_owned(),
    };
    let befallen = Befallen { fault, member: "hurt".to_owned(), from: at(100), until: at(110) };
    Judgement::new(&[], &[receipt(first), receipt(second)], &[befallen]).unexplained()
}
