//! "Contained in": whether what we want is already there.
//!
//! The API server fills defaults in, rewrites quantities and drops empty values, and other controllers add fields of
//! their own. An object that we applied is therefore compared by asking whether all that we want is contained in the
//! live object, with quantities, durations and int-or-strings compared by value. What we once applied and no longer
//! want is not seen here: the hash of what was applied stands on the object ([`crate::apply`]).

use std::{fmt, time::Duration};

use openfunction_proto::GoDuration;
use serde_json::Value;

/// The first place at which a live object does not hold what is wanted.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Difference {
    /// Path of the field, for example `spec.ports[name=http].port`.
    pub path: String,
    /// What is wanted there, as JSON.
    pub wanted: String,
    /// What is there, as JSON; `None` if nothing is.
    pub found: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Some(found) => write!(f, "{} is {found}, not {}", self.path, self.wanted),
            None => write!(f, "{} is missing, it should be {}", self.path, self.wanted),
        }
    }
}

/// Looks for the first difference; `None` means that `live` contains `wanted`.
pub fn difference(wanted: &Value, live: &Value) -> Option<Difference> {
    compare(&Path::Root, wanted, Some(live))
}

/// Where we are in the object, kept on the stack so that equal objects cost no allocation.
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
    Keyed(&'a Path<'a>, &'a str, &'a Value),
}

impl Path<'_> {
    /// Name of the innermost field, list positions passed over.
    fn field(&self) -> &str {
        match self {
            Path::Root => "",
            Path::Field(_, name) => name,
            Path::Item(parent, _) | Path::Keyed(parent, ..) => parent.field(),
        }
    }

    /// Name of the field around the innermost one.
    fn parent_field(&self) -> &str {
        match self {
            Path::Root => "",
            Path::Field(parent, _) => parent.field(),
            Path::Item(parent, _) | Path::Keyed(parent, ..) => parent.parent_field(),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, name) => f.write_str(name),
            Path::Field(parent, name) => write!(f, "{parent}.{name}"),
            Path::Item(parent, index) => write!(f, "{parent}[{index}]"),
            Path::Keyed(parent, key, value) => match value.as_str() {
                Some(text) => write!(f, "{parent}[{key}={text}]"),
                None => write!(f, "{parent}[{key}={value}]"),
            },
        }
    }
}

fn compare(path: &Path<'_>, wanted: &Value, live: Option<&Value>) -> Option<Difference> {
    let differs =
        || Some(Difference { path: path.to_string(), wanted: wanted.to_string(), found: live.map(Value::to_string) });
    // Null means that nothing is wanted, whatever is there.
    if wanted.is_null() {
        return None;
    }
    let Some(live) = live else { return if is_dropped(path, wanted) { None } else { differs() } };
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            wanted.iter().find_map(|(key, value)| compare(&Path::Field(path, key), value, live.get(key)))
        }
        (Value::Array(wanted_items), Value::Array(live_items)) if path.field() == "finalizers" => {
            if wanted_items.iter().all(|item| live_items.contains(item)) { None } else { differs() }
        }
        (Value::Array(wanted_items), Value::Array(live_items)) => match map_key(path.field(), wanted_items) {
            Some(key) => wanted_items.iter().find_map(|item| {
                let found = live_items.iter().find(|live| key.matches(item, live));
                compare(&Path::Keyed(path, key.0[0], &item[key.0[0]]), item, found)
            }),
            // An empty list is not stored, so what stands there is somebody else's.
            None if wanted_items.is_empty() => None,
            None if wanted_items.len() != live_items.len() => differs(),
            None => wanted_items
                .iter()
                .zip(live_items)
                .enumerate()
                .find_map(|(index, (wanted, live))| compare(&Path::Item(path, index), wanted, Some(live))),
        },
        _ if wanted == live || same_value(path, wanted, live) || is_unset(path, wanted) => None,
        _ => differs(),
    }
}

/// Values that the API server does not store: Go leaves empty values of many fields out.
fn is_dropped(path: &Path<'_>, wanted: &Value) -> bool {
    match wanted {
        Value::Null => true,
        Value::Object(map) => {
            is_map(path.field()) && map.iter().all(|(key, value)| is_dropped(&Path::Field(path, key), value))
        }
        Value::Array(items) => items.is_empty(),
        Value::Bool(false) => DROPPED_WHEN_FALSE.contains(&path.field()),
        Value::String(text) if text.is_empty() && path.field() == "value" => !is_key_of_user(path),
        _ => is_unset(path, wanted),
    }
}

const DROPPED_WHEN_FALSE: &[&str] =
    &["hostNetwork", "hostPID", "hostIPC", "readOnly", "stdin", "stdinOnce", "tty", "publishNotReadyAddresses"];

/// Fields whose empty object means nothing; elsewhere its presence does (`emptyDir: {}`, `http: {}`).
const MAPS: &[&str] = &[
    "annotations",
    "binaryData",
    "capacity",
    "data",
    "headers",
    "labels",
    "limits",
    "matchLabels",
    "metadata",
    "nodeSelector",
    "options",
    "overhead",
    "params",
    "requests",
    "selector",
    "stringData",
];

fn is_map(field: &str) -> bool {
    MAPS.contains(&field)
}

/// Texts that mean "unset" when they are empty: the API server fills its default in, or leaves them out.
const UNSET_WHEN_EMPTY: &[&str] = &[
    "clusterIP",
    "dnsPolicy",
    "hostname",
    "imagePullPolicy",
    "namespace",
    "nodeName",
    "protocol",
    "restartPolicy",
    "schedulerName",
    "serviceAccountName",
    "subPath",
    "subdomain",
    "terminationMessagePath",
    "terminationMessagePolicy",
];

/// In a label, a ConfigMap's data and the like, the name of the field is the user's.
fn is_key_of_user(path: &Path<'_>) -> bool {
    is_map(path.parent_field()) && path.parent_field() != "metadata"
}

fn is_unset(path: &Path<'_>, wanted: &Value) -> bool {
    match wanted {
        Value::String(text) => text.is_empty() && UNSET_WHEN_EMPTY.contains(&path.field()) && !is_key_of_user(path),
        // A probe cannot have a timeout of 0 s: that is the default.
        Value::Number(number) => {
            let field = path.field();
            number.as_f64() == Some(0.0)
                && path.parent_field().ends_with("Probe")
                && (field.ends_with("Seconds") || field.ends_with("Threshold"))
        }
        _ => false,
    }
}

/// The fields that tell the items of a list apart (`x-kubernetes-list-map-keys`); an absent one has its default.
#[derive(Clone, Copy)]
struct MapKey(&'static [&'static str]);

impl MapKey {
    fn matches(self, a: &Value, b: &Value) -> bool {
        self.0.iter().all(|key| Self::part(a, key) == Self::part(b, key))
    }

    fn part<'a>(item: &'a Value, key: &str) -> Option<&'a str> {
        match (&item[key], key) {
            (Value::Null, "protocol") => Some("TCP"),
            (Value::String(text), _) => Some(text),
            _ => None,
        }
    }
}

/// How the items of a list are told apart, or `None` for a list whose order counts.
fn map_key(field: &str, items: &[Value]) -> Option<MapKey> {
    let candidates: &[MapKey] = match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "listeners" => &[MapKey(&["name"])],
        "conditions" => &[MapKey(&["type"])],
        "ownerReferences" => &[MapKey(&["uid"])],
        "volumeMounts" => &[MapKey(&["mountPath"])],
        "volumeDevices" => &[MapKey(&["devicePath"])],
        // Service ports and container ports have names in what we write; numbers alone are compared in order.
        "ports" => &[MapKey(&["name", "protocol"])],
        _ => &[],
    };
    let unique = |key: &MapKey| {
        items
            .iter()
            .enumerate()
            .all(|(i, item)| item[key.0[0]].is_string() && items[..i].iter().all(|other| !key.matches(item, other)))
    };
    candidates.iter().copied().find(unique)
}

/// Whether two scalars of different text mean the same at this place.
fn same_value(path: &Path<'_>, wanted: &Value, live: &Value) -> bool {
    if let (Value::Number(a), Value::Number(b)) = (wanted, live) {
        return a.as_f64() == b.as_f64();
    }
    if is_quantity(path) {
        return matches!((quantity(wanted), quantity(live)), (Some(a), Some(b)) if a == b);
    }
    if is_duration(path.field()) {
        return matches!((duration(wanted), duration(live)), (Some(a), Some(b)) if a == b);
    }
    if is_int_or_string(path.field()) {
        return matches!((int_or_string(wanted), int_or_string(live)), (Some(a), Some(b)) if a == b);
    }
    false
}

/// Only at these places: the texts `1` and `1000m` are two different values of an environment variable.
fn is_quantity(path: &Path<'_>) -> bool {
    matches!(path.parent_field(), "limits" | "requests" | "overhead" | "capacity")
        || matches!(path.field(), "sizeLimit" | "divisor" | "averageValue" | "targetAverageValue")
        || (path.field() == "value" && path.parent_field() == "target")
}

fn is_duration(field: &str) -> bool {
    matches!(
        field,
        "timeout"
            | "initTimeout"
            | "builderMaxAge"
            | "buildDuration"
            | "ttlAfterFailed"
            | "ttlAfterSucceeded"
            | "request"
            | "backendRequest"
    )
}

fn is_int_or_string(field: &str) -> bool {
    matches!(field, "targetPort" | "port" | "maxSurge" | "maxUnavailable" | "minAvailable")
}

/// A quantity in units of 10⁻⁹, exactly.
///
/// The suffixes are those of `k8s.io/apimachinery/pkg/api/resource`; `None` for anything else or out of range.
fn quantity(value: &Value) -> Option<i128> {
    let text = int_or_string(value)?;
    let at = text.rfind(|c: char| c.is_ascii_digit() || c == '.').map_or(0, |i| i + 1);
    let (number, suffix) = text.split_at(at);
    // An exponent ("1e3") ends with a digit.
    let (number, exponent) = match number.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok().filter(|e| (-9..=18).contains(e))?),
        None => (number, 0),
    };
    let (scale, power) = match suffix {
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "" => (1, exponent),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1_i128 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => return None,
    };
    let (negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let shift = power + 9 - i32::try_from(fraction.len()).ok()?;
    let scaled = mantissa.checked_mul(scale)?;
    let nanos = match u32::try_from(shift) {
        Ok(up) => scaled.checked_mul(10_i128.checked_pow(up)?)?,
        // The API server rounds away from zero at 10⁻⁹.
        Err(_) => {
            let divisor = 10_i128.checked_pow(shift.unsigned_abs())?;
            scaled / divisor + i128::from(scaled % divisor != 0)
        }
    };
    Some(if negative { -nanos } else { nanos })
}

fn duration(value: &Value) -> Option<Duration> {
    GoDuration(value.as_str()?.to_owned()).to_std()
}

fn int_or_string(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "contained_tests.rs"]
mod tests;
