/**
 * The part of JSON Schema that node-llama-cpp's converter reads. It passes over keywords that it does not know, and would
 * let the model write what the schema forbids; so those are refused here. Pure.
 */
import { CoppiceError } from "../../../../services/runtime/errors.ts";

type Schema = Readonly<Record<string, unknown>>;

const NESTING_MAX = 64;
/** Say nothing about the JSON. */
const REMARKS = [
  "$schema",
  "$id",
  "$comment",
  "title",
  "description",
  "default",
  "examples",
  "deprecated",
  "readOnly",
];
/** Every property is written, so a list of the necessary ones holds. */
const OBJECT = ["type", "properties", "required", "additionalProperties", "minProperties", "maxProperties"];
const ARRAY = ["type", "items", "prefixItems", "minItems", "maxItems"];
const STRING = ["type", "minLength", "maxLength"];
const FORMATS = ["date-time", "time", "date"];
const BASIC_TYPES = ["string", "number", "integer", "boolean", "null"];

/** The schema as the converter wants it: `anyOf` is `oneOf` to it. Throws "invalid_argument" naming the first place that it cannot read. */
export function readableSchema(schema: Schema): Schema {
  return readable(schema, "$", 0);
}

function readable(schema: unknown, path: string, depth: number): Schema {
  if (typeof schema !== "object" || schema === null || Array.isArray(schema))
    throw unreadable(path, "a schema", schema);
  if (depth > NESTING_MAX) throw unreadable(path, `at most ${NESTING_MAX} schemas in one another`, "more");
  // A JSON object.
  const { $defs, ...own } = schema as Schema;
  const inner = (value: unknown, at: string): Schema => readable(value, `${path}.${at}`, depth + 1);
  const read = withoutRemarks(own);
  return {
    ...readOne(read, path, inner),
    ...($defs === undefined
      ? {}
      : { $defs: eachOf($defs, `${path}.$defs`, (value, key) => inner(value, `$defs.${key}`)) }),
  };
}

type ReadInner = (value: unknown, at: string) => Schema;

function readOne(schema: Schema, path: string, inner: ReadInner): Schema {
  if ("$ref" in schema) {
    only(schema, ["$ref"], path);
    if (typeof schema["$ref"] === "string" && schema["$ref"].startsWith("#/$defs/")) return schema;
    throw unreadable(`${path}.$ref`, 'a reference to "#/$defs/..."', schema["$ref"]);
  }
  for (const key of ["oneOf", "anyOf"] as const) {
    const members = schema[key];
    if (members === undefined) continue;
    only(schema, [key], path);
    if (!Array.isArray(members) || members.length === 0)
      throw unreadable(`${path}.${key}`, "a list of schemas", members);
    return { oneOf: members.map((member, n) => inner(member, `${key}[${n}]`)) };
  }
  if ("const" in schema) return literal(schema, "const", path);
  if ("enum" in schema) return literal(schema, "enum", path);
  const type = schema["type"];
  if (type === "object") return readObject(schema, path, inner);
  if (type === "array") return readArray(schema, path, inner);
  if (type === "string") return readString(schema, path);
  const types: readonly unknown[] = Array.isArray(type) ? type : [type];
  only(schema, ["type"], path);
  if (types.length > 0 && types.every((each) => typeof each === "string" && BASIC_TYPES.includes(each)))
    return schema;
  throw unreadable(`${path}.type`, `object, array, ${BASIC_TYPES.join(", ")}`, type);
}

function readObject(schema: Schema, path: string, inner: ReadInner): Schema {
  only(schema, OBJECT, path);
  const { properties = {}, required = [], additionalProperties: more } = schema;
  const read = eachOf(properties, `${path}.properties`, (value, key) => inner(value, `properties.${key}`));
  const missing = Array.isArray(required)
    ? required.filter((key) => !Object.hasOwn(read, String(key)))
    : [required];
  if (missing.length > 0) throw unreadable(`${path}.required`, `names of properties`, missing[0]);
  const isFlag = more === undefined || typeof more === "boolean";
  return {
    ...schema,
    properties: read,
    ...(isFlag ? {} : { additionalProperties: inner(more, "additionalProperties") }),
  };
}

function readArray(schema: Schema, path: string, inner: ReadInner): Schema {
  only(schema, ARRAY, path);
  const { items, prefixItems } = schema;
  if (prefixItems !== undefined && !Array.isArray(prefixItems))
    throw unreadable(`${path}.prefixItems`, "a list of schemas", prefixItems);
  return {
    ...schema,
    ...(items === undefined ? {} : { items: inner(items, "items") }),
    ...(prefixItems === undefined
      ? {}
      : { prefixItems: prefixItems.map((item: unknown, n) => inner(item, `prefixItems[${n}]`)) }),
  };
}

function readString(schema: Schema, path: string): Schema {
  if (schema["format"] === undefined) only(schema, STRING, path);
  else {
    only(schema, ["type", "format"], path);
    if (!FORMATS.some((format) => format === schema["format"]))
      throw unreadable(`${path}.format`, FORMATS.join(", "), schema["format"]);
  }
  return schema;
}

/** A type beside values says nothing more. */
function literal(schema: Schema, key: "const" | "enum", path: string): Schema {
  only(schema, [key, "type"], path);
  const values: unknown = key === "const" ? [schema[key]] : schema[key];
  const isSimple = (value: unknown): boolean => typeof value !== "object" || value === null;
  if (Array.isArray(values) && values.length > 0 && values.every(isSimple)) return { [key]: schema[key] };
  throw unreadable(`${path}.${key}`, "texts, numbers, true, false or null", schema[key]);
}

function withoutRemarks(schema: Schema): Schema {
  return Object.fromEntries(Object.entries(schema).filter(([key]) => !REMARKS.includes(key)));
}

function eachOf(
  schemas: unknown,
  path: string,
  read: (schema: unknown, key: string) => Schema,
): Readonly<Record<string, Schema>> {
  if (typeof schemas !== "object" || schemas === null || Array.isArray(schemas))
    throw unreadable(path, "schemas by name", schemas);
  return Object.fromEntries(Object.entries(schemas).map(([key, schema]) => [key, read(schema, key)]));
}

function only(schema: Schema, known: readonly string[], path: string): void {
  const stranger = Object.keys(schema).find((key) => !known.includes(key));
  if (stranger !== undefined) throw unreadable(path, `no more than ${known.join(", ")}`, stranger);
}

function unreadable(path: string, expected: string, found: unknown): CoppiceError {
  const shown = JSON.stringify(found) ?? "nothing";
  return new CoppiceError(
    "invalid_argument",
    `at ${path}: expected ${expected}, found ${shown.slice(0, 120)}`,
  );
}
