import { calculator } from "../../workers/verify/verifiers/calculator.ts";
import { describeVerifier } from "../conformance/verifier.ts";

describeVerifier(calculator, {
  problem: {},
  correct: [
    { text: "6 * 7", answer: "42" },
    { text: "(1 + 2) * 3 - 4 / 8", answer: "8.5" },
    { text: "1/3 + 1/6", answer: "0.5" },
    { text: "2/3", answer: "2/3" },
    { text: " 0.1 + .2 ", answer: "0.3" },
    { text: "1.5e3 × 2 ÷ 4", answer: "750" },
    { text: "2^10", answer: "1024" },
    { text: "2 ** -2", answer: "0.25" },
    { text: "-2^2", answer: "-4" },
    { text: "2^3^2", answer: "512" },
    { text: "(-1)^99999999999", answer: "-1" },
    { text: "0^0 + 1^123456789", answer: "2" },
    { text: "--3 − +2", answer: "1" },
  ],
  incorrect: [
    { text: "1 / (2 - 2)", reason: "a division by zero" },
    { text: "0 ^ -1", reason: "a division by zero" },
    { text: "2 +", reason: 'expected a number, a sign or "(", found the end' },
    { text: "two", reason: 'found "t"' },
    { text: "1 2", reason: 'expected an operator or the end, found "2"' },
    { text: "(1", reason: 'expected an operator or ")", found the end' },
    { text: "2 ^ 0.5", reason: "a whole number as exponent" },
    { text: "9^9^9", reason: "more than 1000 digits" },
    { text: "10^999 * 10", reason: "more than 1000 digits" },
    { text: "import os", reason: 'found "i"' },
  ],
  undecided: [],
});
