/**
 * What a strategy of one's own is written with: `import { sample, judge } from "coppice/search"` in a module that a sweep
 * names (`strategy: ./my-search.ts`) and that exports `strategy`, an object of the type `Strategy`.
 */
export { finish, isTerminal, sampleCandidate, type FinishedPath } from "./candidate.ts";
export {
  all,
  consider,
  draw,
  gather,
  type Gathered,
  graver,
  type Group,
  judge,
  openGroup,
  sample,
  sampleMany,
  type SampleManyOptions,
  useTool,
  verify,
  type VerifyRequest,
  writePrompt,
} from "./operations.ts";
export { textOf } from "./prefix.ts";
export {
  type AskId,
  type Candidate,
  type Loss,
  LostError,
  type Outcome,
  type Prefix,
  type Program,
  type Rollout,
  type SampleOptions,
  type Selection,
  type Settled,
  type Tool,
  type Verdict,
  type VerifierRole,
} from "./program.ts";
export { type Ballot, byScore, outcomeOf, scoreOf, selectByVote, selectHighest, topK } from "./selection.ts";
export {
  type Cost,
  type Needs,
  type Parameter,
  type ParameterValues,
  type ProblemFacts,
  type Strategy,
} from "./strategy.ts";
export { fillTemplate, pathFrom } from "./template.ts";
