use platform::demand::Reader;
use platform::shutdown::CancellationToken;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::plan::{FrontDemand, Seen};

/// Watches the demand that all fronts together keep in Redis until `shutdown`; `None` while it is not known.
pub fn watch(
    reader: Reader,
    clock: Clock,
    shutdown: CancellationToken,
) -> watch::Receiver<Option<Seen<FrontDemand>>> {
    let (demand, watched) = watch::channel(None);
    let following = reader.follow(move |sum| {
        let seen = sum.map(|sum| Seen {
            value: FrontDemand {
                unanswered: sum.unanswered,
                accepted_total: sum.accepted_total,
                answered_total: sum.answered_total,
            },
            at: clock.now(),
        });
        demand.send_replace(seen);
    });
    tokio::spawn(shutdown.run_until_cancelled_owned(following));
    watched
}
