/** Units and other words after a number. They are compared where both answers have one, and left out where one has. */

const UNITS: readonly (readonly string[])[] = [
  ["\u00b0", "degree", "degrees", "deg"],
  ["%", "percent", "percents"],
  ["cm", "centimeter", "centimeters", "centimetre", "centimetres"],
  ["mm", "millimeter", "millimeters", "millimetre", "millimetres"],
  ["m", "meter", "meters", "metre", "metres"],
  ["km", "kilometer", "kilometers", "kilometre", "kilometres"],
  ["in", "inch", "inches"],
  ["ft", "foot", "feet"],
  ["yd", "yard", "yards"],
  ["mi", "mile", "miles"],
  ["mph"],
  ["s", "sec", "second", "seconds"],
  ["min", "minute", "minutes"],
  ["h", "hr", "hrs", "hour", "hours"],
  ["day", "days"],
  ["g", "gram", "grams"],
  ["kg", "kilogram", "kilograms"],
  ["lb", "lbs", "pound", "pounds"],
  ["oz", "ounce", "ounces"],
  ["l", "liter", "liters", "litre", "litres"],
  ["ml", "milliliter", "milliliters"],
  ["dollar", "dollars"],
  ["cent", "cents"],
  ["rad", "radian", "radians"],
  ["sq", "square"],
  ["cu", "cubic"],
  ["pm"],
  ["am"],
  ["per", "each"],
  ["of"],
  ["unit", "units"],
];

const NAMES: ReadonlyMap<string, string> = new Map(
  UNITS.flatMap((spellings) => spellings.map((spelling) => [spelling, spellings[0] ?? spelling])),
);

/** Words that change the number before them, or what it is: they are no units. */
const OPERATIONS =
  /(?<![a-z])(?:hundred|dozens?|half|halves|thirds?|quarters?|fourths?|fifths?|sixths?|eighths?|tenths?|hundredths?|thousandths?|base|mod|modulo|over|plus|minus|squared|cubed|factorial|divided|root|not|if|when|where|unless|except|less|more|least|most|choose|power|thousand|million|billion|trillion)(?![a-z])/i;

export function changesNumber(words: string): boolean {
  return OPERATIONS.test(words);
}

/** Whether words after a number may be left out. */
export function isUnit(words: string): boolean {
  return !changesNumber(words) && !/[\d()]/.test(words.replace(/\^ ?\{? ?[23]/g, ""));
}

export function isUnitWord(word: string): boolean {
  return NAMES.has(word.toLowerCase());
}

/** One name per unit: `centimeters` and `cm`, `square inches` and `in^2`. */
export function unitName(words: string): string {
  const named = words
    .toLowerCase()
    .replaceAll(".", "")
    .split(/[\s/]+|(?=\^)/)
    .filter((word) => word !== "")
    .map((word) => NAMES.get(word) ?? (word.length > 3 ? word.replace(/s$/, "") : word));
  const [first, second] = named;
  if (first === "sq" && second !== undefined) return [second, "^2", ...named.slice(2)].join(" ");
  if (first === "cu" && second !== undefined) return [second, "^3", ...named.slice(2)].join(" ");
  return named.join(" ");
}
