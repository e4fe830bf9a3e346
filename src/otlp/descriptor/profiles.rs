//! The messages of OTLP's profiles (v1development of OTLP 1.10). What a profile names stands once in the request's dictionary, and is pointed at.

use super::FieldKind::{Base64, Fixed64, Hex, Int32, Int64, Message as Of, Text, Uint32, Uint64};
use super::{ANY_VALUE, MessageDescriptor, RESOURCE, SCOPE, many, one, records};

pub(super) static REQUEST: MessageDescriptor = MessageDescriptor {
    fields: &[many("resource_profiles", 1, Of(&RESOURCE_PROFILES)), one("dictionary", 2, Of(&DICTIONARY))],
};

static RESOURCE_PROFILES: MessageDescriptor = MessageDescriptor {
    fields: &[
        one("resource", 1, Of(&RESOURCE)),
        many("scope_profiles", 2, Of(&SCOPE_PROFILES)),
        one("schema_url", 3, Text),
    ],
};

static SCOPE_PROFILES: MessageDescriptor = MessageDescriptor {
    fields: &[one("scope", 1, Of(&SCOPE)), records("profiles", 2, &PROFILE), one("schema_url", 3, Text)],
};

static PROFILE: MessageDescriptor = MessageDescriptor {
    fields: &[
        one("sample_type", 1, Of(&VALUE_TYPE)),
        many("samples", 2, Of(&SAMPLE)),
        one("time_unix_nano", 3, Fixed64),
        one("duration_nano", 4, Uint64),
        one("period_type", 5, Of(&VALUE_TYPE)),
        one("period", 6, Int64),
        one("profile_id", 7, Hex(16)),
        one("dropped_attributes_count", 8, Uint32),
        one("original_payload_format", 9, Text),
        one("original_payload", 10, Base64),
        many("attribute_indices", 11, Int32),
    ],
};

static VALUE_TYPE: MessageDescriptor =
    MessageDescriptor { fields: &[one("type_strindex", 1, Int32), one("unit_strindex", 2, Int32)] };

static SAMPLE: MessageDescriptor = MessageDescriptor {
    fields: &[
        one("stack_index", 1, Int32),
        many("attribute_indices", 2, Int32),
        one("link_index", 3, Int32),
        many("values", 4, Int64),
        many("timestamps_unix_nano", 5, Fixed64),
    ],
};

static DICTIONARY: MessageDescriptor = MessageDescriptor {
    fields: &[
        many("mapping_table", 1, Of(&MAPPING)),
        many("location_table", 2, Of(&LOCATION)),
        many("function_table", 3, Of(&FUNCTION)),
        many("link_table", 4, Of(&LINK)),
        many("string_table", 5, Text),
        many("attribute_table", 6, Of(&KEY_VALUE_AND_UNIT)),
        many("stack_table", 7, Of(&STACK)),
    ],
};

static MAPPING: MessageDescriptor = MessageDescriptor {
    fields: &[
        one("memory_start", 1, Uint64),
        one("memory_limit", 2, Uint64),
        one("file_offset", 3, Uint64),
        one("filename_strindex", 4, Int32),
        many("attribute_indices", 5, Int32),
    ],
};

static LOCATION: MessageDescriptor = MessageDescriptor {
    fields: &[
        one("mapping_index", 1, Int32),
        one("address", 2, Uint64),
        many("lines", 3, Of(&LINE)),
        many("attribute_indices", 4, Int32),
    ],
};

static LINE: MessageDescriptor =
    MessageDescriptor { fields: &[one("function_index", 1, Int32), one("line", 2, Int64), one("column", 3, Int64)] };

static FUNCTION: MessageDescriptor = MessageDescriptor {
    fields: &[
        one("name_strindex", 1, Int32),
        one("system_name_strindex", 2, Int32),
        one("filename_strindex", 3, Int32),
        one("start_line", 4, Int64),
    ],
};

static LINK: MessageDescriptor =
    MessageDescriptor { fields: &[one("trace_id", 1, Hex(16)), one("span_id", 2, Hex(8))] };

static KEY_VALUE_AND_UNIT: MessageDescriptor = MessageDescriptor {
    fields: &[one("key_strindex", 1, Int32), one("value", 2, Of(&ANY_VALUE)), one("unit_strindex", 3, Int32)],
};

static STACK: MessageDescriptor = MessageDescriptor { fields: &[many("location_indices", 1, Int32)] };
