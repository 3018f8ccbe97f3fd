/** What is read out of a model's text, and how long texts are cut. */
import { describe, expect, it } from "vitest";
import { lastCodeBlock } from "../../services/search/code-block.ts";
import { excerpt } from "../../services/search/excerpt.ts";
import { listItems } from "../../services/search/list-items.ts";

describe("a list", () => {
  it.each<[string, readonly string[]]>([
    ["Sure!\n1. one\n2) two\nThat is all.", ["one", "two"]],
    ["- one\n* two\n• three", ["one", "two", "three"]],
    ["Q1: one\nStep 2: two", ["one", "two"]],
    ["one\n\n two \n", ["one", "two"]],
    ["1.\n2. two", ["two"]],
    ["3.5 apples\n**bold**", ["3.5 apples", "**bold**"]],
    ["", []],
  ])("of %j is %j", (text, items) => {
    expect(listItems(text, 10)).toEqual(items);
  });

  it("is no longer than it may be", () => {
    expect(listItems("1. a\n2. b\n3. c", 2)).toEqual(["a", "b"]);
  });
});

describe("a program", () => {
  it("is the last fenced block, without its fences", () => {
    expect(lastCodeBlock("a\n```py\nx\n```\nb\n```\ny\n  z\n```\n")).toBe("y\n  z");
  });

  it("reaches to the end where its block is not closed", () => {
    expect(lastCodeBlock("```\nx\n```\n```py\ny\nz")).toBe("y\nz");
  });

  it("is not there without a fence", () => {
    expect(lastCodeBlock("x = `1`")).toBeNull();
  });
});

describe("an excerpt", () => {
  it("is the text where that is short enough", () => {
    expect(excerpt("12345678", 8)).toBe("12345678");
  });

  it("is the beginning and the end of a longer one, within the limit", () => {
    expect(excerpt("0123456789abcdef", 15)).toBe("01234\n...\nbcdef");
  });

  it("holds no half of a character", () => {
    expect(excerpt("😀".repeat(20), 16)).toBe("😀😀\uFFFD\n...\n\uFFFD😀😀");
  });
});
