/**
 * What llama.cpp's grammar sampler needs to hold a text to a structure. With engine.ts the only file that imports
 * node-llama-cpp's engine.
 */
import { LlamaGrammarEvaluationState } from "node-llama-cpp";
import type { Llama, LlamaGrammar, LlamaModel } from "node-llama-cpp";
import { CoppiceError, messageOf } from "../../../../services/runtime/errors.ts";
import type { Structure } from "../../../../services/queue/job.ts";
import { Bounded } from "../../bounded.ts";
import { readableSchema } from "./json-schema.ts";
import type { ModelFile } from "./model-file.ts";

/** Grammars that are kept parsed; a sweep has one for each of its arms. */
const GRAMMARS_MAX = 64;
const GRAMMAR_CHARS_MAX = 256 * 1024;
/** node-llama-cpp ends a text of a schema by four newlines; here it ends where its JSON does. */
const SCHEMA_END = ' "\\n\\n\\n\\n" [\\n]*';
/** Its integers may have an exponent, and 1e-3 is none. */
const INTEGER_RULE = "integer-number-rule ::=";
const INTEGER = `${INTEGER_RULE} "-"? ("0" | [1-9] [0-9]{0,15})`;

/** Holds one text to a structure while it is sampled: a part of its sampler's configuration. */
export interface Form {
  readonly grammarEvaluationState: unknown;
}

export interface Grammars {
  /** A form for one text. Rejects with "invalid_argument" saying what is wrong with the structure. */
  formOf(structure: Structure): Promise<Form>;
}

export function createGrammars(llama: Llama, model: LlamaModel, file: ModelFile): Grammars {
  const parsed = new Bounded<string, Promise<LlamaGrammar>>(GRAMMARS_MAX);

  function grammarFor(structure: Structure): Promise<LlamaGrammar> {
    const key = JSON.stringify(structure);
    let grammar = parsed.get(key);
    if (grammar === undefined) {
      grammar = grammarText(llama, structure).then((text) => llama.createGrammar({ grammar: text }));
      parsed.set(key, grammar);
    }
    return grammar;
  }

  return {
    async formOf(structure) {
      try {
        const grammar = await grammarFor(structure);
        if (model.disposed) throw new CoppiceError("cancelled", `embedded host ${file.path}: closed`);
        const state = new LlamaGrammarEvaluationState({ model, grammar });
        return { grammarEvaluationState: Reflect.get(state, "_state") };
      } catch (error) {
        if (error instanceof CoppiceError && error.code === "cancelled") throw error;
        const message = `embedded host ${file.path}: expected a ${structure.kind} that llama.cpp can hold a text to, found: ${messageOf(error)}`;
        throw new CoppiceError("invalid_argument", message, { cause: error });
      }
    },
  };
}

/** GBNF of the structure. */
async function grammarText(llama: Llama, structure: Structure): Promise<string> {
  switch (structure.kind) {
    case "json-schema": {
      // What `readableSchema` lets through is what the converter reads; its type is that of schemas known when compiled.
      const schema = readableSchema(structure.schema) as never;
      const { grammar } = await llama.createGrammarForJsonSchema(schema);
      const [root = "", ...rules] = grammar.split("\n");
      if (!root.endsWith(SCHEMA_END))
        throw new Error(
          `expected a converter of node-llama-cpp 3.22.1, its grammar begins ${root.slice(-80)}`,
        );
      const integers = rules.map((rule) => (rule.startsWith(INTEGER_RULE) ? INTEGER : rule));
      return [root.slice(0, -SCHEMA_END.length), ...integers].join("\n");
    }
    case "grammar":
      if (structure.grammar.length > GRAMMAR_CHARS_MAX)
        throw new Error(`${structure.grammar.length} characters, more than ${GRAMMAR_CHARS_MAX}`);
      return structure.grammar;
    case "regex":
      throw new Error("a regular expression");
  }
}
