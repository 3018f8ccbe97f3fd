/** `make test` takes a share of the long checks; `make test-long` (COPPICE_TEST_LONG=1) takes them whole. */
export const IS_LONG = process.env["COPPICE_TEST_LONG"] === "1";

/** Every `step`th, all of them in the long run. */
export function shareOf<T>(all: readonly T[], step: number): readonly T[] {
  return IS_LONG ? all : all.filter((_, index) => index % step === 0);
}
