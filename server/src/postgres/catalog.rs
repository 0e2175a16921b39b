//! What PostgreSQL tells of itself, as far as psql and BI tools ask for it: `pg_catalog` and `information_schema` with the tables of
//! the service, and the functions that their queries call. Most tables are there and empty: there are no indexes, constraints, triggers.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, UInt32Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, UInt32Type};
use datafusion::catalog::{MemTable, MemorySchemaProvider, SchemaProvider};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility};
use datafusion::prelude::SessionContext;
use serde_json::{Value, json};

use super::values::{TYPES, Type, kind};
use crate::service::query;

/// The name of the one database.
pub const DATABASE: &str = "cohort";
/// Who owns everything.
const OWNER: u32 = 10;
const PUBLIC: u32 = 2200;
const PG_CATALOG: u32 = 11;
const INFORMATION_SCHEMA: u32 = 13;
const NAMESPACES: [(u32, &str); 3] = [(PG_CATALOG, "pg_catalog"), (PUBLIC, "public"), (INFORMATION_SCHEMA, "information_schema")];
/// The functions by which drivers know the types of lists.
const LIST_FUNCTIONS: [(u32, &str); 4] = [(750, "array_in"), (751, "array_out"), (2400, "array_recv"), (2401, "array_send")];
/// The first number of a table of the service, and of a table of these schemas.
const FIRST_TABLE: u32 = 16_384;
const FIRST_SYSTEM_TABLE: u32 = 12_000;

/// Each table with its columns and their types: o oid, t text, i integer, s smallint, l bigint, f real, b boolean, z time, T texts.
const PG_CATALOG_TABLES: &str = "
pg_aggregate aggfnoid:o aggkind:t aggtransfn:o
pg_am oid:o amname:t amhandler:t amtype:t
pg_attrdef oid:o adrelid:o adnum:s adbin:t
pg_attribute attrelid:o attname:t atttypid:o attstattarget:i attlen:s attnum:s attndims:i attcacheoff:i atttypmod:i attbyval:b attalign:t attstorage:t attcompression:t attnotnull:b atthasdef:b atthasmissing:b attidentity:t attgenerated:t attisdropped:b attislocal:b attinhcount:i attcollation:o attacl:T attoptions:T attfdwoptions:T
pg_auth_members oid:o roleid:o member:o grantor:o admin_option:b inherit_option:b set_option:b
pg_available_extensions name:t default_version:t installed_version:t comment:t
pg_cast oid:o castsource:o casttarget:o castfunc:o castcontext:t castmethod:t
pg_class oid:o relname:t relnamespace:o reltype:o reloftype:o relowner:o relam:o relfilenode:o reltablespace:o relpages:i reltuples:f relallvisible:i reltoastrelid:o relhasindex:b relisshared:b relpersistence:t relkind:t relnatts:s relchecks:s relhasrules:b relhastriggers:b relhassubclass:b relrowsecurity:b relforcerowsecurity:b relispopulated:b relreplident:t relispartition:b relrewrite:o relacl:T reloptions:T relpartbound:t
pg_collation oid:o collname:t collnamespace:o collowner:o collprovider:t collisdeterministic:b collencoding:i collcollate:t collctype:t
pg_constraint oid:o conname:t connamespace:o contype:t condeferrable:b condeferred:b convalidated:b conrelid:o contypid:o conindid:o conparentid:o confrelid:o confupdtype:t confdeltype:t confmatchtype:t conislocal:b conkey:T confkey:T conbin:t
pg_conversion oid:o conname:t connamespace:o
pg_database oid:o datname:t datdba:o encoding:i datlocprovider:t datistemplate:b datallowconn:b datconnlimit:i dattablespace:o datcollate:t datctype:t daticulocale:t datlocale:t daticurules:t datcollversion:t datacl:T
pg_db_role_setting setdatabase:o setrole:o setconfig:T
pg_default_acl oid:o defaclrole:o defaclnamespace:o defaclobjtype:t defaclacl:T
pg_depend classid:o objid:o objsubid:i refclassid:o refobjid:o refobjsubid:i deptype:t
pg_description objoid:o classoid:o objsubid:i description:t
pg_enum oid:o enumtypid:o enumsortorder:f enumlabel:t
pg_event_trigger oid:o evtname:t evtevent:t evtowner:o evtfoid:o evtenabled:t evttags:T
pg_extension oid:o extname:t extowner:o extnamespace:o extrelocatable:b extversion:t
pg_foreign_data_wrapper oid:o fdwname:t fdwowner:o fdwhandler:o fdwvalidator:o fdwacl:T fdwoptions:T
pg_foreign_server oid:o srvname:t srvowner:o srvfdw:o srvtype:t srvversion:t srvacl:T srvoptions:T
pg_foreign_table ftrelid:o ftserver:o ftoptions:T
pg_index indexrelid:o indrelid:o indnatts:s indnkeyatts:s indisunique:b indnullsnotdistinct:b indisprimary:b indisexclusion:b indimmediate:b indisclustered:b indisvalid:b indcheckxmin:b indisready:b indislive:b indisreplident:b indkey:T indcollation:T indclass:T indoption:T indexprs:t indpred:t
pg_indexes schemaname:t tablename:t indexname:t tablespace:t indexdef:t
pg_inherits inhrelid:o inhparent:o inhseqno:i inhdetachpending:b
pg_language oid:o lanname:t lanowner:o lanispl:b lanpltrusted:b
pg_locks locktype:t database:o relation:o pid:i mode:t granted:b
pg_matviews schemaname:t matviewname:t matviewowner:t tablespace:t hasindexes:b ispopulated:b definition:t
pg_namespace oid:o nspname:t nspowner:o nspacl:T
pg_opclass oid:o opcname:t opcnamespace:o opcmethod:o
pg_operator oid:o oprname:t oprnamespace:o oprleft:o oprright:o oprresult:o
pg_partitioned_table partrelid:o partstrat:t partnatts:s partdefid:o partattrs:T
pg_policy oid:o polname:t polrelid:o polcmd:t polpermissive:b polroles:T polqual:t polwithcheck:t
pg_prepared_statements name:t statement:t
pg_proc oid:o proname:t pronamespace:o proowner:o prolang:o prokind:t prosecdef:b proretset:b provolatile:t pronargs:s prorettype:o proargtypes:T proargnames:T prosrc:t proacl:T
pg_publication oid:o pubname:t pubowner:o puballtables:b pubinsert:b pubupdate:b pubdelete:b pubtruncate:b pubviaroot:b
pg_publication_namespace oid:o pnpubid:o pnnspid:o
pg_publication_rel oid:o prpubid:o prrelid:o prqual:t prattrs:T
pg_range rngtypid:o rngsubtype:o rngmultitypid:o
pg_rewrite oid:o rulename:t ev_class:o ev_type:t ev_enabled:t is_instead:b ev_qual:t ev_action:t
pg_roles oid:o rolname:t rolsuper:b rolinherit:b rolcreaterole:b rolcreatedb:b rolcanlogin:b rolreplication:b rolconnlimit:i rolpassword:t rolvaliduntil:z rolbypassrls:b rolconfig:T
pg_sequence seqrelid:o seqtypid:o seqstart:l seqincrement:l seqmax:l seqmin:l seqcache:l seqcycle:b
pg_sequences schemaname:t sequencename:t
pg_settings name:t setting:t unit:t category:t short_desc:t context:t vartype:t source:t boot_val:t reset_val:t
pg_shdescription objoid:o classoid:o description:t
pg_stat_activity datid:o datname:t pid:i usename:t application_name:t state:t query:t
pg_stat_user_tables relid:o schemaname:t relname:t seq_scan:l n_live_tup:l
pg_statistic_ext oid:o stxrelid:o stxname:t stxnamespace:o stxowner:o stxstattarget:i stxkeys:T stxkind:T
pg_tables schemaname:t tablename:t tableowner:t tablespace:t hasindexes:b hasrules:b hastriggers:b rowsecurity:b
pg_tablespace oid:o spcname:t spcowner:o spcacl:T spcoptions:T
pg_timezone_names name:t abbrev:t is_dst:b
pg_trigger oid:o tgrelid:o tgparentid:o tgname:t tgfoid:o tgtype:s tgenabled:t tgisinternal:b tgconstrrelid:o tgconstrindid:o tgconstraint:o tgdeferrable:b tginitdeferred:b
pg_ts_config oid:o cfgname:t cfgnamespace:o cfgowner:o cfgparser:o
pg_ts_dict oid:o dictname:t dictnamespace:o dictowner:o dicttemplate:o dictinitoption:t
pg_ts_parser oid:o prsname:t prsnamespace:o
pg_ts_template oid:o tmplname:t tmplnamespace:o
pg_type oid:o typname:t typnamespace:o typowner:o typlen:s typbyval:b typtype:t typcategory:t typispreferred:b typisdefined:b typdelim:t typrelid:o typsubscript:t typelem:o typarray:o typinput:o typoutput:o typreceive:o typsend:o typnotnull:b typbasetype:o typtypmod:i typndims:i typcollation:o typdefault:t typacl:T
pg_user usename:t usesysid:o usecreatedb:b usesuper:b userepl:b usebypassrls:b
pg_views schemaname:t viewname:t viewowner:t definition:t
";

const INFORMATION_SCHEMA_TABLES: &str = "
columns table_catalog:t table_schema:t table_name:t column_name:t ordinal_position:i column_default:t is_nullable:t data_type:t character_maximum_length:i character_octet_length:i numeric_precision:i numeric_precision_radix:i numeric_scale:i datetime_precision:i interval_type:t collation_name:t domain_name:t udt_catalog:t udt_schema:t udt_name:t is_identity:t identity_generation:t is_generated:t generation_expression:t is_updatable:t
constraint_column_usage table_catalog:t table_schema:t table_name:t column_name:t constraint_catalog:t constraint_schema:t constraint_name:t
key_column_usage constraint_catalog:t constraint_schema:t constraint_name:t table_catalog:t table_schema:t table_name:t column_name:t ordinal_position:i position_in_unique_constraint:i
referential_constraints constraint_catalog:t constraint_schema:t constraint_name:t unique_constraint_catalog:t unique_constraint_schema:t unique_constraint_name:t match_option:t update_rule:t delete_rule:t
routines specific_name:t routine_catalog:t routine_schema:t routine_name:t routine_type:t data_type:t
schemata catalog_name:t schema_name:t schema_owner:t default_character_set_name:t
sequences sequence_catalog:t sequence_schema:t sequence_name:t
table_constraints constraint_catalog:t constraint_schema:t constraint_name:t table_catalog:t table_schema:t table_name:t constraint_type:t is_deferrable:t initially_deferred:t
table_privileges grantor:t grantee:t table_catalog:t table_schema:t table_name:t privilege_type:t is_grantable:t
tables table_catalog:t table_schema:t table_name:t table_type:t is_insertable_into:t is_typed:t
triggers trigger_catalog:t trigger_schema:t trigger_name:t event_manipulation:t event_object_table:t
views table_catalog:t table_schema:t table_name:t view_definition:t is_updatable:t
";

/// A table of any schema.
struct Relation {
    oid: u32,
    namespace: u32,
    schema: &'static str,
    name: &'static str,
    columns: SchemaRef,
}

static RELATIONS: LazyLock<Vec<Relation>> = LazyLock::new(|| {
    let own = query::tables().into_iter().zip(FIRST_TABLE..);
    let own = own.map(|((name, columns), oid)| Relation { oid, namespace: PUBLIC, schema: "public", name, columns });
    let system = described(PG_CATALOG_TABLES).map(|t| (PG_CATALOG, "pg_catalog", t));
    let system = system.chain(described(INFORMATION_SCHEMA_TABLES).map(|t| (INFORMATION_SCHEMA, "information_schema", t))).zip(FIRST_SYSTEM_TABLE..);
    let system = system.map(|((namespace, schema, (name, columns)), oid)| Relation { oid, namespace, schema, name, columns });
    own.chain(system).collect()
});

/// The tables of these schemas; they never change.
static SCHEMAS: LazyLock<Result<[Arc<dyn SchemaProvider>; 2], String>> = LazyLock::new(|| {
    let schema = |name: &str| schema(name).map_err(|e| e.to_string());
    Ok([schema("pg_catalog")?, schema("information_schema")?])
});

fn described(tables: &'static str) -> impl Iterator<Item = (&'static str, SchemaRef)> {
    tables.lines().filter(|l| !l.is_empty()).map(|line| {
        let (name, columns) = line.split_once(' ').unwrap_or((line, ""));
        let field = |column: &str| {
            let (name, letter) = column.split_once(':').unwrap_or((column, "t"));
            Field::new(name, by_letter(letter), true)
        };
        (name, Arc::new(Schema::new(columns.split(' ').map(field).collect::<Vec<_>>())))
    })
}

fn by_letter(letter: &str) -> DataType {
    match letter {
        "o" => DataType::UInt32,
        "i" => DataType::Int32,
        "s" => DataType::Int16,
        "l" => DataType::Int64,
        "f" => DataType::Float32,
        "b" => DataType::Boolean,
        "z" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "T" => DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
        _ => DataType::Utf8,
    }
}

fn schema(of: &str) -> Result<Arc<dyn SchemaProvider>> {
    let provider = MemorySchemaProvider::new();
    for relation in RELATIONS.iter().filter(|r| r.schema == of) {
        let table = MemTable::try_new(Arc::clone(&relation.columns), vec![batches(relation)?])?;
        provider.register_table(relation.name.into(), Arc::new(table))?;
    }
    Ok(Arc::new(provider))
}

fn batches(relation: &Relation) -> Result<Vec<RecordBatch>> {
    let mut decoder = arrow_json::ReaderBuilder::new(Arc::clone(&relation.columns)).build_decoder()?;
    decoder.serialize(&rows(relation.name))?;
    Ok(decoder.flush()?.into_iter().collect())
}

/// Whether a table of these schemas never has rows.
pub fn is_empty(name: &str) -> bool {
    is_system(name) && rows(name).is_empty()
}

/// Whether there is such a table in `pg_catalog`.
pub fn is_system(name: &str) -> bool {
    RELATIONS.iter().any(|r| r.namespace == PG_CATALOG && r.name == name)
}

/// The number of a table, by its name with or without its schema.
pub fn number(name: &str) -> Option<u32> {
    let (schema, name) = name.split_once('.').map_or((None, name), |(schema, name)| (Some(schema), name));
    let name = name.trim_matches('"');
    RELATIONS.iter().find(|r| r.name == name && schema.is_none_or(|s| s == r.schema)).map(|r| r.oid)
}

/// The number of what a cast to regclass or the like names.
pub fn number_as(kind: &str, name: &str) -> Option<u32> {
    let given = name.parse().ok();
    let plain = name.strip_prefix("pg_catalog.").unwrap_or(name);
    let found = match kind {
        "regclass" => number(name),
        "regnamespace" => NAMESPACES.iter().find(|n| n.1 == name).map(|n| n.0),
        "regrole" => Some(OWNER),
        "regtype" => TYPES.iter().find(|t| plain == t.2 || plain.eq_ignore_ascii_case(t.3)).map(|t| t.1),
        _ => LIST_FUNCTIONS.iter().find(|f| f.1 == plain).map(|f| f.0),
    };
    given.or(found)
}

/// The columns of all tables, with their numbers.
fn attributes() -> impl Iterator<Item = (&'static Relation, usize, &'static Field, Type)> {
    RELATIONS.iter().flat_map(|r| r.columns.fields().iter().enumerate().map(move |(i, f)| (r, i + 1, &**f, kind(f.data_type()))))
}

fn own() -> impl Iterator<Item = &'static Relation> {
    RELATIONS.iter().filter(|r| r.namespace == PUBLIC)
}

fn rows(table: &str) -> Vec<Value> {
    match table {
        "pg_namespace" => NAMESPACES.map(|(oid, name)| json!({"oid": oid, "nspname": name, "nspowner": OWNER})).into(),
        "pg_am" => vec![json!({"oid": 2, "amname": "heap", "amhandler": "heap_tableam_handler", "amtype": "t"})],
        "pg_class" => RELATIONS.iter().map(class).collect(),
        "pg_attribute" => attributes().map(|(r, n, f, kind)| attribute(r, n, f, kind)).collect(),
        "pg_type" => TYPES.iter().map(pg_type).collect(),
        "pg_proc" => {
            LIST_FUNCTIONS.map(|(oid, name)| json!({"oid": oid, "proname": name, "pronamespace": PG_CATALOG, "proowner": OWNER, "prokind": "f"})).into()
        }
        "pg_database" => vec![json!({"oid": 5, "datname": DATABASE, "datdba": OWNER, "encoding": 6, "datlocprovider": "c", "datistemplate": false,
            "datallowconn": true, "datconnlimit": -1, "dattablespace": 1663, "datcollate": "C", "datctype": "C"})],
        "pg_roles" => vec![json!({"oid": OWNER, "rolname": DATABASE, "rolsuper": false, "rolinherit": true, "rolcreaterole": false, "rolcreatedb": false,
            "rolcanlogin": true, "rolreplication": false, "rolconnlimit": -1, "rolbypassrls": false})],
        "pg_user" => vec![json!({"usename": DATABASE, "usesysid": OWNER, "usecreatedb": false, "usesuper": false, "userepl": false, "usebypassrls": false})],
        "pg_tablespace" => vec![json!({"oid": 1663, "spcname": "pg_default", "spcowner": OWNER})],
        "pg_timezone_names" => vec![json!({"name": "UTC", "abbrev": "UTC", "is_dst": false})],
        "pg_settings" => super::settings::DEFAULTS.iter().map(|(name, value)| json!({"name": name, "setting": value, "context": "user"})).collect(),
        "pg_tables" => {
            let row = |r: &Relation| {
                json!({"schemaname": r.schema, "tablename": r.name, "tableowner": DATABASE, "hasindexes": false, "hasrules": false,
                "hastriggers": false, "rowsecurity": false})
            };
            RELATIONS.iter().map(row).collect()
        }
        "schemata" => {
            ["public", "pg_catalog", "information_schema"].map(|s| json!({"catalog_name": DATABASE, "schema_name": s, "schema_owner": DATABASE})).into()
        }
        "tables" => {
            let row = |r: &Relation| {
                json!({"table_catalog": DATABASE, "table_schema": r.schema, "table_name": r.name, "table_type": "BASE TABLE",
                "is_insertable_into": "NO", "is_typed": "NO"})
            };
            own().map(row).collect()
        }
        "columns" => attributes().filter(|a| a.0.namespace == PUBLIC).map(|(r, n, f, kind)| column(r, n, f, kind)).collect(),
        _ => vec![],
    }
}

fn class(r: &Relation) -> Value {
    json!({"oid": r.oid, "relname": r.name, "relnamespace": r.namespace, "reltype": 0, "reloftype": 0, "relowner": OWNER, "relam": 2, "relfilenode": r.oid,
        "reltablespace": 0, "relpages": 0, "reltuples": -1.0, "relallvisible": 0, "reltoastrelid": 0, "relhasindex": false, "relisshared": false,
        "relpersistence": "p", "relkind": "r", "relnatts": r.columns.fields().len(), "relchecks": 0, "relhasrules": false, "relhastriggers": false,
        "relhassubclass": false, "relrowsecurity": false, "relforcerowsecurity": false, "relispopulated": true, "relreplident": "n",
        "relispartition": false, "relrewrite": 0})
}

fn attribute(r: &Relation, n: usize, field: &Field, kind: Type) -> Value {
    json!({"attrelid": r.oid, "attname": field.name(), "atttypid": kind.oid(), "attstattarget": -1, "attlen": kind.size(), "attnum": n,
        "attndims": i32::from(kind == Type::TextArray), "attcacheoff": -1, "atttypmod": -1, "attbyval": kind.size() > 0, "attalign": "i",
        "attstorage": if kind.size() > 0 { "p" } else { "x" }, "attcompression": "", "attnotnull": false, "atthasdef": false, "atthasmissing": false,
        "attidentity": "", "attgenerated": "", "attisdropped": false, "attislocal": true, "attinhcount": 0, "attcollation": 0})
}

fn pg_type((kind, oid, name, _, size, category): &(Type, u32, &str, &str, i16, &str)) -> Value {
    let is_list = *kind == Type::TextArray;
    let of_lists = |n: usize| if is_list { LIST_FUNCTIONS[n].0 } else { 0 };
    json!({"oid": oid, "typname": name, "typnamespace": PG_CATALOG, "typowner": OWNER, "typlen": size, "typbyval": (1..=8).contains(size), "typtype": "b",
        "typcategory": category, "typispreferred": false, "typisdefined": true, "typdelim": ",", "typrelid": 0, "typsubscript": "-",
        "typelem": if is_list { Type::Text.oid() } else { 0 }, "typarray": if *kind == Type::Text { Type::TextArray.oid() } else { 0 },
        "typinput": of_lists(0), "typoutput": of_lists(1), "typreceive": of_lists(2), "typsend": of_lists(3),
        "typnotnull": false, "typbasetype": 0, "typtypmod": -1, "typndims": 0, "typcollation": 0})
}

fn column(r: &Relation, n: usize, field: &Field, kind: Type) -> Value {
    let name = TYPES.iter().find(|t| t.0 == kind).map_or("text", |t| t.2);
    json!({"table_catalog": DATABASE, "table_schema": r.schema, "table_name": r.name, "column_name": field.name(), "ordinal_position": n,
        "is_nullable": "YES", "data_type": kind.name(), "numeric_precision": if kind == Type::Float8 { Some(53) } else { None },
        "numeric_precision_radix": if kind == Type::Float8 { Some(2) } else { None }, "datetime_precision": if kind == Type::TimestampTz { Some(3) } else { None },
        "udt_catalog": DATABASE, "udt_schema": "pg_catalog", "udt_name": name, "is_identity": "NO", "is_generated": "NEVER", "is_updatable": "NO"})
}

/// Adds the schemas, and the functions for a session of this user with these settings.
///
/// # Errors
/// When they cannot be added.
pub fn add_to(context: &SessionContext, user: &str, pid: i32, settings: &Arc<BTreeMap<String, String>>) -> Result<()> {
    let schemas = SCHEMAS.as_ref().map_err(|e| DataFusionError::Internal(e.clone()))?;
    if let Some(catalog) = context.catalog("datafusion") {
        catalog.register_schema("pg_catalog", Arc::clone(&schemas[0]))?;
        catalog.register_schema("information_schema", Arc::clone(&schemas[1]))?;
    }
    let text = |text: &str| ScalarValue::Utf8(Some(text.into()));
    let nothing = || ScalarValue::Utf8(None);
    let yes = || ScalarValue::Boolean(Some(true));
    let schemas = ScalarValue::List(ScalarValue::new_list_nullable(&[text("public")], &DataType::Utf8));
    let fixed = [
        ("version", text(&format!("PostgreSQL {} (Cohort {})", super::settings::VERSION, env!("CARGO_PKG_VERSION")))),
        ("current_database", text(DATABASE)),
        ("current_catalog", text(DATABASE)),
        ("current_schema", text("public")),
        ("current_schemas", schemas),
        ("current_user", text(user)),
        ("session_user", text(user)),
        ("user", text(user)),
        ("current_role", text(user)),
        ("pg_backend_pid", ScalarValue::Int32(Some(pid))),
        ("pg_is_in_recovery", ScalarValue::Boolean(Some(false))),
        ("pg_get_userbyid", text(DATABASE)),
        ("pg_encoding_to_char", text("UTF8")),
        ("pg_client_encoding", text("UTF8")),
        ("pg_size_pretty", text("0 bytes")),
        ("pg_table_size", ScalarValue::Int64(Some(0))),
        ("pg_relation_size", ScalarValue::Int64(Some(0))),
        ("pg_total_relation_size", ScalarValue::Int64(Some(0))),
        ("pg_indexes_size", ScalarValue::Int64(Some(0))),
        ("pg_database_size", ScalarValue::Int64(Some(0))),
        ("pg_type_is_visible", yes()),
        ("pg_function_is_visible", yes()),
        ("has_table_privilege", yes()),
        ("has_schema_privilege", yes()),
        ("has_database_privilege", yes()),
        ("has_column_privilege", yes()),
        ("has_any_column_privilege", yes()),
        ("has_function_privilege", yes()),
        ("pg_has_role", yes()),
        ("pg_relation_is_publishable", ScalarValue::Boolean(Some(false))),
        ("pg_get_expr", nothing()),
        ("pg_get_viewdef", nothing()),
        ("pg_get_constraintdef", nothing()),
        ("pg_get_indexdef", nothing()),
        ("pg_get_serial_sequence", nothing()),
        ("pg_get_function_result", nothing()),
        ("pg_get_function_arguments", nothing()),
        ("pg_get_partkeydef", nothing()),
        ("pg_tablespace_location", nothing()),
        ("obj_description", nothing()),
        ("col_description", nothing()),
        ("shobj_description", nothing()),
        ("pg_advisory_unlock_all", nothing()),
        ("inet_server_addr", nothing()),
        ("inet_client_addr", nothing()),
    ];
    for (name, value) in fixed {
        context.register_udf(Function::named(name, Gives::Value(value)));
    }
    context.register_udf(Function::named("format_type", Gives::TypeName));
    context.register_udf(Function::named("current_setting", Gives::Setting(Arc::clone(settings))));
    context.register_udf(Function::named("quote_ident", Gives::Argument(0)));
    context.register_udf(Function::named("set_config", Gives::Argument(1)));
    context.register_udf(Function::named("pg_table_is_visible", Gives::Visible));
    for name in ["to_regclass", "to_regtype", "to_regnamespace", "to_regrole", "to_regproc", "to_regprocedure"] {
        context.register_udf(Function::named(name, Gives::Number(name.trim_start_matches("to_"))));
    }
    Ok(())
}

/// A function whose answer does not take computing.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    name: &'static str,
    gives: Gives,
    signature: Signature,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Gives {
    /// Always the same.
    Value(ScalarValue),
    /// The SQL name of the type whose number is the first argument.
    TypeName,
    /// The setting that the first argument names.
    Setting(Arc<BTreeMap<String, String>>),
    /// One of the arguments.
    Argument(usize),
    /// Whether the table whose number is the first argument can be named without its schema.
    Visible,
    /// The number of what the first argument names.
    Number(&'static str),
}

impl Function {
    fn named(name: &'static str, gives: Gives) -> ScalarUDF {
        let signature = Signature::one_of(vec![TypeSignature::Nullary, TypeSignature::VariadicAny], Volatility::Stable);
        ScalarUDF::from(Function { name, gives, signature })
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match &self.gives {
            Gives::Value(value) => value.data_type(),
            Gives::Number(_) => DataType::UInt32,
            Gives::Visible => DataType::Boolean,
            _ => DataType::Utf8,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let argument = |n: usize, kind: DataType| -> Result<ArrayRef> {
            let missing = || DataFusionError::Plan(format!("{} needs an argument", self.name));
            Ok(cast(&args.args.get(n).ok_or_else(missing)?.to_array(args.number_rows)?, &kind)?)
        };
        match &self.gives {
            Gives::Value(value) => Ok(ColumnarValue::Scalar(value.clone())),
            Gives::TypeName => {
                let numbers = argument(0, DataType::UInt32)?;
                let name = |oid: Option<u32>| oid.map(|oid| Type::of(oid).map_or("???", Type::name));
                Ok(ColumnarValue::Array(Arc::new(numbers.as_primitive::<UInt32Type>().iter().map(name).collect::<StringArray>())))
            }
            Gives::Setting(settings) => {
                let names = argument(0, DataType::Utf8)?;
                let value = |name: Option<&str>| settings.get(&name?.to_lowercase()).map(String::as_str);
                Ok(ColumnarValue::Array(Arc::new(names.as_string::<i32>().iter().map(value).collect::<StringArray>())))
            }
            Gives::Argument(n) => Ok(ColumnarValue::Array(argument(*n, DataType::Utf8)?)),
            Gives::Visible => {
                let numbers = argument(0, DataType::UInt32)?;
                let visible = |oid: Option<u32>| RELATIONS.iter().find(|r| Some(r.oid) == oid).map(|r| r.namespace != INFORMATION_SCHEMA);
                Ok(ColumnarValue::Array(Arc::new(numbers.as_primitive::<UInt32Type>().iter().map(visible).collect::<BooleanArray>())))
            }
            Gives::Number(kind) => {
                let names = argument(0, DataType::Utf8)?;
                let number = |name: Option<&str>| number_as(kind, name?);
                Ok(ColumnarValue::Array(Arc::new(names.as_string::<i32>().iter().map(number).collect::<UInt32Array>())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemas_can_be_made() {
        assert!(SCHEMAS.is_ok(), "{:?}", SCHEMAS.as_ref().err());
        assert!(number("memberships").is_some_and(|n| n >= FIRST_TABLE));
        assert_eq!(number("public.memberships"), number("\"memberships\""));
        assert_eq!(number("nothing"), None);
        assert!(is_empty("pg_index") && !is_empty("pg_class") && !is_empty("memberships"));
    }
}
