//! What of a function's context the proxy reads: its inputs (core-behaviour §5.5).

use std::collections::BTreeMap;

use serde::Deserialize;

/// The context of a function.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct FunctionContext {
    #[serde(default)]
    inputs: BTreeMap<String, Input>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    #[serde(default)]
    uri: String,
    component_name: String,
    component_type: String,
}

/// A topic of a component.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    /// Name of the component.
    pub component: String,
    /// Name of the topic.
    pub name: String,
}

impl FunctionContext {
    fn of(&self, block: &str) -> impl Iterator<Item = &Input> {
        let is_of = format!("{block}.");
        self.inputs.values().filter(move |input| input.component_type.starts_with(&is_of))
    }

    /// Names of the input bindings.
    pub fn bindings(&self) -> Vec<String> {
        let mut names: Vec<_> = self.of("bindings").map(|input| input.component_name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The topics that the function subscribes to.
    pub fn topics(&self) -> Vec<Topic> {
        let topic = |input: &Input| Topic { component: input.component_name.clone(), name: input.uri.clone() };
        self.of("pubsub").map(topic).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_and_topics_are_told_apart_by_their_types() {
        let text = r#"{"name":"f","version":"v1","inputs":{
            "a":{"uri":"tick","componentName":"f-bindings-tick-1","componentType":"bindings.cron"},
            "b":{"uri":"paid","componentName":"f-pubsub-bus-1","componentType":"pubsub.redis"},
            "c":{"componentName":"f-state-s-1","componentType":"state.redis"}},"runtime":"Async","port":"8080"}"#;
        let context: FunctionContext = serde_json::from_str(text).unwrap();
        assert_eq!(context.bindings(), ["f-bindings-tick-1"]);
        let topic = Topic { component: "f-pubsub-bus-1".to_owned(), name: "paid".to_owned() };
        assert_eq!(context.topics(), [topic]);
        assert!(serde_json::from_str::<FunctionContext>("{}").unwrap().bindings().is_empty());
    }
}
