//! Availability zones, as App Runner sees them. Their ids are the same in every account; their names are not.

/// The ids of the zones in which App Runner accepts no subnet of a VPC connector. AWS prints no list (Assumption
/// zones-without-app-runner). A zone that is missing here is learnt from App Runner's refusal.
pub const WITHOUT_APP_RUNNER: [&str; 1] = ["use1-az3"];

/// Whether App Runner is known to accept no subnet in the zone of this id.
pub fn is_without_app_runner(id: &str) -> bool {
    WITHOUT_APP_RUNNER.contains(&id)
}
