// A treemap: rectangles with the areas of their weights, as square as can be.

// Places the weights, the largest first, in a rectangle. Returns {x, y, width, height} for each.
export function squarified(weights, width, height) {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const areas = weights.map((weight) => (weight * width * height) / Math.max(1e-9, total));
  const places = [];
  let [x, y, begin] = [0, 0, 0];
  while (begin < areas.length) {
    const side = Math.min(width - x, height - y);
    let end = begin + 1;
    while (end < areas.length && worst(areas.slice(begin, end + 1), side) <= worst(areas.slice(begin, end), side)) end += 1;
    const row = areas.slice(begin, end);
    const thick = row.reduce((sum, area) => sum + area, 0) / Math.max(1e-9, side);
    const isColumn = width - x >= height - y;
    let along = isColumn ? y : x;
    for (const area of row) {
      const long = area / Math.max(1e-9, thick);
      places.push(isColumn ? { x, y: along, width: thick, height: long } : { x: along, y, width: long, height: thick });
      along += long;
    }
    if (isColumn) x += thick;
    else y += thick;
    begin = end;
  }
  return places;
}

// The greatest ratio of the sides in a row of areas along a side.
function worst(row, side) {
  const sum = row.reduce((all, area) => all + area, 0);
  return Math.max((side * side * row[0]) / (sum * sum), (sum * sum) / (side * side * row.at(-1)));
}
