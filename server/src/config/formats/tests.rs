//! What the configuration says of records, and what it refuses to say.

use cohort_engine::formats::{Encoding, Formats, Framing, Writer};

use super::*;
use crate::config::Config;

const KAFKA: &str = "source.kind=kafka";

fn load(set: &[&str]) -> Result<Config, String> {
    let flags: Vec<(String, String)> = set.iter().filter_map(|s| s.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
    Config::load(None, &flags).map_err(|e| e.to_string())
}

fn refused(set: &[&str]) -> String {
    load(set).err().unwrap_or_else(|| panic!("{set:?} is accepted"))
}

fn formats(set: &[&str]) -> Arc<Formats> {
    let config = load(set).unwrap_or_else(|e| panic!("{e}"));
    let cache = Arc::new(SchemaCache::new(Box::new(NotAsked)));
    config.source.formats_with(Some(&cache)).unwrap_or_else(|e| panic!("{e}"))
}

/// A file of this name and content.
fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap_or_else(|e| panic!("{e}"));
    path.display().to_string()
}

#[test]
fn all_topics_are_plain_unless_something_is_said() {
    assert!(formats(&[]).are_plain());
    assert!(formats(&[KAFKA, "source.format.fields.user_id=userId"]).are_plain(), "a mapping that says nothing new is none");
    let formats = formats(&[KAFKA, "source.formats.order_events.fields.user_id=user"]);
    assert!(formats.of(Some("install_events")).is_plain() && !formats.of(Some("order_events")).is_plain());
}

#[test]
fn a_mapping_has_paths_units_defaults_and_attributes() {
    let fields = "source.format.fields={user_id=[\"user.id\",uid],event_type=\"\",event_type_default=\"{topic}\",event_time_unit=us,metadata=\".\",attributes={c=\"/geo.x/c\"}}";
    let mapping = formats(&[KAFKA, fields]).default.mapping.clone().unwrap_or_default();
    assert_eq!((mapping.user_id.len(), mapping.event_type.len(), mapping.event_time_unit), (2, 0, TimeUnit::Micros));
    assert_eq!(mapping.attributes, [("c".to_string(), vec![FieldPath::parse("/geo.x/c").unwrap_or_default()])]);
    assert_eq!(mapping.value, Mapping::default().value, "what is not said is as in plain events");
}

#[test]
fn encodings_have_their_schemas() {
    let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let avsc = file(&folder, "e.avsc", r#"{"type":"record","name":"E","fields":[{"name":"userId","type":"string"}]}"#);
    let user = file(&folder, "user.proto", "syntax = \"proto3\"; message User { string id = 1; }");
    let proto = file(&folder, "e.proto", "syntax = \"proto3\"; package p; import \"user.proto\"; message E { User user = 1; }");
    let schema = format!("source.format.schema={avsc:?}");
    let avro = formats(&[KAFKA, "source.format.kind=avro", &schema, "source.format.framing=single_object"]);
    assert!(matches!(avro.default.encoding, Encoding::Avro { framing: Framing::SingleObject, writer: Writer::Local(_), reader: None }));
    let reader = format!("source.format.reader_schema={avsc:?}");
    let avro = formats(&[KAFKA, "source.format.kind=avro", "source.registry.url=\"http://r:8081\"", &reader]);
    assert!(matches!(avro.default.encoding, Encoding::Avro { framing: Framing::Confluent, writer: Writer::Registry(_), reader: Some(_) }));
    let schema = format!("source.format.schema={proto:?}");
    let message = "source.format.message=p.E";
    let protobuf = formats(&[KAFKA, "source.format.kind=protobuf", &schema, message, "source.format.framing=none"]);
    assert!(matches!(protobuf.default.encoding, Encoding::Protobuf { framing: Framing::None, writer: Writer::Local(_) }));
    // One file has one message, whatever it imports; two have two.
    formats(&[KAFKA, "source.format.kind=protobuf", &schema]);
    let said = refused(&[KAFKA, "source.format.kind=protobuf", &format!("source.format.schema=[{proto:?},{user:?}]")]);
    assert!(said.contains("source.format.message: name it"), "{said}");
    let said = refused(&[KAFKA, "source.format.kind=protobuf", &schema, "source.format.message=p.F"]);
    assert!(said.contains("there is no \"p.F\""), "{said}");
    let set = protox::compile([&proto], [folder.path()]).unwrap_or_else(|e| panic!("{e}"));
    let set = prost::Message::encode_to_vec(&set);
    let path = folder.path().join("e.desc");
    std::fs::write(&path, set).unwrap_or_else(|e| panic!("{e}"));
    let desc = format!("source.format.schema={:?}", path.display().to_string());
    formats(&[KAFKA, "source.format.kind=protobuf", &desc, message]);
    formats(&[KAFKA, "source.format.kind=json_schema"]);
}

#[test]
fn what_makes_no_sense_is_refused_by_its_key() {
    let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let broken = format!("source.format.schema={:?}", file(&folder, "e.avsc", "{"));
    let avro = "source.format.kind=avro";
    for (set, said) in [
        (&[KAFKA, "source.format.kind=xml"][..], "source.format.kind on the command line: \"xml\" is not one of json, json_schema, avro, protobuf"),
        (&[KAFKA, "source.format.filds={}"], "unknown key \"filds\""),
        (&[KAFKA, "source.format.fields.user=id"], "unknown key \"user\""),
        (&[KAFKA, "source.format.fields.user_id=a..b"], "source.format.fields.user_id: \"a..b\" has an empty name"),
        (&[KAFKA, "source.format.fields.user_id=7"], "source.format.fields.user_id"),
        (&[KAFKA, "source.format.fields.user_id=[]"], "source.format.fields.user_id: name a path"),
        (&[KAFKA, "source.format.fields.value=."], "source.format.fields.value: \".\" is the whole record"),
        (&[KAFKA, "source.format.fields.event_type=[]"], "or give event_type_default"),
        (&[KAFKA, "source.format.fields.event_time_unit=minutes"], "not one of s, ms, us, ns, rfc3339"),
        (&[KAFKA, avro], "source.format.schema: name it, or a registry in source.registry.url"),
        (&[KAFKA, avro, "source.format.framing=none", "source.registry.url=\"http://r\""], "records do not say which schema they have"),
        (&[KAFKA, avro, "source.format.schema=/no/such.avsc"], "source.format.schema: /no/such.avsc"),
        (&[KAFKA, avro, &broken], "not JSON"),
        (&[KAFKA, avro, "source.format.message=a.B"], "source.format.message: is not of this kind"),
        (&[KAFKA, "source.format.framing=confluent"], "source.format.framing: json has none"),
        (&[KAFKA, "source.formats.other.kind=avro", "source.registry.url=\"http://r\""], "source.formats.other: \"other\" is none of source.topics"),
        (&["source.format.kind=json_schema"], "source.format: the embedded log holds plain JSON events"),
        (&[KAFKA, "source.registry.url=\"registry:8081\""], "source.registry.url: \"registry:8081\" is no address"),
        (&[KAFKA, "source.registry.url=\"http://r\"", "source.registry.user=me"], "source.registry.password: is empty"),
        (&[KAFKA, "source.registry.url=\"http://r\"", "source.registry.token_file=/no/such"], "source.registry.token_file: /no/such"),
        (&[KAFKA, "source.registry.url=\"http://r\"", "source.registry.tls.ca=/no/such"], "source.registry.tls.ca: /no/such"),
    ] {
        let found = refused(set);
        assert!(found.contains(said), "{set:?}: {found}");
    }
}

#[test]
fn the_effective_configuration_has_all_but_secrets() {
    let set = [
        KAFKA,
        "source.registry.url=\"http://a,http://b\"",
        "source.registry.user=me",
        "source.registry.password=s3cret",
        "source.formats.order_events.kind=avro",
    ];
    let shown = load(&set).unwrap_or_else(|e| panic!("{e}")).effective();
    for part in
        ["[source.registry]", "http://a,http://b", "user = \"me\"", "password = \"***\"", "[source.formats.order_events]", "kind = \"avro\"", "[source.format]"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("s3cret"));
}
