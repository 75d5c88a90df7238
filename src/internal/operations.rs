//! Two spellings of Wise's operations, the proxy's and the simulator's, name the same ones.

use std::collections::BTreeSet;

use crate::simulator;
use crate::wise::operations::OPERATIONS;

#[test]
fn the_proxy_and_the_simulator_know_the_same_operations() {
    let ours: BTreeSet<_> = OPERATIONS.iter().map(|it| (it.method, it.path)).collect();
    let theirs: BTreeSet<_> = simulator::operations().collect();
    let only_ours: Vec<_> = ours.difference(&theirs).collect();
    let only_theirs: Vec<_> = theirs.difference(&ours).collect();
    assert_eq!(
        only_ours,
        [
            &("POST", "/oauth/token"),
            // As transfers were paid before profiles stood in the path.
            &("POST", "/transfers/{transferId}/payments"),
        ],
        "the simulator has rules of its own for the first"
    );
    assert_eq!(only_theirs, [&("", ""); 0]);
}
