//! The example company loads, and the schema takes it.

mod common;

use common::{destinations, examples};
use keyplane_policy::load;

#[test]
fn probe() {
    let policy = load(&examples(), Some(&destinations())).unwrap();
    for w in &policy.warnings { println!("{w}"); }
    for key in policy.intent.keys.keys() { println!("{}", policy.explain(key).unwrap()); }
    println!("{}", serde_json::to_string_pretty(&keyplane_policy::json_schema()).unwrap());
}
