//! Group `networking.openfunction.io`: the OpenFunction Gateway.

mod gateway;

pub use gateway::{
    AllowedRoutes, Gateway, GatewayAddress, GatewayCondition, GatewayDef, GatewaySettings, GatewaySpec, GatewayStatus,
    Listener, ListenerStatus, ListenerTls, RouteGroupKind, RouteNamespaces, SecretObjectReference,
};
