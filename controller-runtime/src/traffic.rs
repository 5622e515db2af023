//! What function-controller and gateway-controller agree on about the traffic of a Function (design §4).

use openfunction_proto::core::TrafficTarget;

use crate::names;

/// Condition of a Function that gateway-controller writes and function-controller reads: the route leads to the traffic.
pub const ROUTE_READY: &str = "RouteReady";

/// Condition of an object whose child does not keep what is applied to it.
pub const DRIFT: &str = "DriftNotConverging";

/// Hash of a traffic: `status.route.observedTraffic` has it once the traffic is rendered.
pub fn hash(traffic: &[TrafficTarget]) -> String {
    names::hash(&traffic)
}
