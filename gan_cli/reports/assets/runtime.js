"use strict";
// Runs the graph of gan_cli/exports/graph.py on typed arrays, one image at a time. A node keeps the array of its value
// from one image to the next. The products of convolutions take nearly all of the time: see `product`.
const runtime = (() => {
  const size = shape => shape.reduce((n, side) => n * side, 1);

  // float16 as float32, by a table of all 65,536 numbers.
  const HALF = new Float32Array(65536);
  for (let i = 0; i < 65536; i++) {
    const exponent = i >> 10 & 31, fraction = i & 1023, sign = i >> 15 ? -1 : 1;
    HALF[i] = sign * (exponent === 0 ? fraction * 2 ** -24 : exponent === 31 ? (fraction ? NaN : Infinity)
      : (1024 + fraction) * 2 ** (exponent - 25));
  }

  function constant([shape, kind], bytes, offset) {
    const n = size(shape);
    if (kind === "f4") return { shape, data: new Float32Array(bytes.slice(offset, offset + 4 * n)) };
    const halves = new Uint16Array(bytes.slice(offset, offset + 2 * n)), data = new Float32Array(n);
    for (let i = 0; i < n; i++) data[i] = HALF[halves[i]];
    return { shape, data };
  }

  // The steps of a value of `shape` along the axes of `like`, to which it is broadcast: 0 along an axis of side 1.
  function steps(shape, like) {
    const found = new Array(like.length).fill(0);
    for (let i = shape.length - 1, j = like.length - 1, step = 1; i >= 0; i--, j--) {
      if (shape[i] !== 1) found[j] = step;
      step *= shape[i];
    }
    return found;
  }

  // Call `row(o, a, b)` for each row along the last axis of `shape`: where it begins, and where two other values with
  // the steps `sa` and `sb` begin.
  function eachRow(shape, sa, sb, row) {
    const last = shape.length - 1, at = new Array(last).fill(0), n = shape[last];
    for (let o = 0, a = 0, b = 0, end = size(shape); o < end; o += n) {
      row(o, a, b);
      for (let i = last - 1; i >= 0; i--) {
        a += sa[i];
        b += sb[i];
        if (++at[i] < shape[i]) break;
        a -= sa[i] * shape[i];
        b -= sb[i] * shape[i];
        at[i] = 0;
      }
    }
  }

  const copied = (shape, from, sa) => (node, out, x) => {
    const n = shape[shape.length - 1], step = sa[sa.length - 1];
    eachRow(shape, sa, sa, (o, a) => { for (let i = 0; i < n; i++) out[o + i] = x.data[a + i * step]; });
  };

  function combined(node, out, x, y) {
    const shape = node.shape.length ? node.shape : [1], n = shape[shape.length - 1], a = x.data;
    const b = y ? y.data : new Float32Array([node.scalar]);
    const sa = steps(x.shape, shape), sb = y ? steps(y.shape, shape) : new Array(shape.length).fill(0);
    const p = sa[sa.length - 1], q = sb[sb.length - 1], op = node.op;
    eachRow(shape, sa, sb, (o, i, j) => {
      const end = o + n;
      switch (op) {  // a loop of its own for each operator: engines compile them well
        case "add": for (; o < end; o++, i += p, j += q) out[o] = a[i] + b[j]; break;
        case "sub": for (; o < end; o++, i += p, j += q) out[o] = a[i] - b[j]; break;
        case "mul": for (; o < end; o++, i += p, j += q) out[o] = a[i] * b[j]; break;
        case "div": for (; o < end; o++, i += p, j += q) out[o] = a[i] / b[j]; break;
        case "pow": for (; o < end; o++, i += p, j += q) out[o] = a[i] ** b[j]; break;
        case "eq": for (; o < end; o++, i += p, j += q) out[o] = a[i] === b[j] ? 1 : 0; break;
      }
    });
  }

  const each = f => (node, out, x) => { for (let i = 0; i < out.length; i++) out[i] = f(x.data[i]); };

  // A matrix of `rows` x `depth` in panels of four rows, the four numbers of a column beside each other.
  function panels(rows, depth, at) {
    const found = new Float32Array(Math.ceil(rows / 4) * 4 * depth);
    for (let row = 0; row < rows; row++)
      for (let k = 0; k < depth; k++) found[((row >> 2) * depth + k) * 4 + (row & 3)] = at(row, k);
    return found;
  }

  // `c` [rows, columns], from `to` on, is the product of a matrix in panels and of `b` [depth, columns], from `from` on.
  // Four columns at a time are laid out in one strip, and sixteen sums at a time stay in registers.
  let strip = new Float32Array(0);
  function product(a, rows, depth, b, from, columns, c, to) {
    if (strip.length < 4 * depth) strip = new Float32Array(4 * depth);
    const x = strip;
    for (let j = 0; j < columns; j += 4) {
      const wide = Math.min(4, columns - j);
      for (let k = 0, p = 0, q = from + j; k < depth; k++, p += 4, q += columns)
        for (let i = 0; i < 4; i++) x[p + i] = i < wide ? b[q + i] : 0;
      for (let row = 0; row < rows; row += 4) {
        let s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
        let s20 = 0, s21 = 0, s22 = 0, s23 = 0, s30 = 0, s31 = 0, s32 = 0, s33 = 0;
        for (let p = row * depth, q = 0, end = 4 * depth; q < end; p += 4, q += 4) {
          const b0 = x[q], b1 = x[q + 1], b2 = x[q + 2], b3 = x[q + 3];
          let w = a[p];
          s00 += w * b0; s01 += w * b1; s02 += w * b2; s03 += w * b3;
          w = a[p + 1];
          s10 += w * b0; s11 += w * b1; s12 += w * b2; s13 += w * b3;
          w = a[p + 2];
          s20 += w * b0; s21 += w * b1; s22 += w * b2; s23 += w * b3;
          w = a[p + 3];
          s30 += w * b0; s31 += w * b1; s32 += w * b2; s33 += w * b3;
        }
        let o = to + row * columns + j;
        const tall = rows - row;
        c[o] = s00; if (wide > 1) c[o + 1] = s01; if (wide > 2) c[o + 2] = s02; if (wide > 3) c[o + 3] = s03;
        if (tall < 2) continue;
        o += columns;
        c[o] = s10; if (wide > 1) c[o + 1] = s11; if (wide > 2) c[o + 2] = s12; if (wide > 3) c[o + 3] = s13;
        if (tall < 3) continue;
        o += columns;
        c[o] = s20; if (wide > 1) c[o + 1] = s21; if (wide > 2) c[o + 2] = s22; if (wide > 3) c[o + 3] = s23;
        if (tall < 4) continue;
        o += columns;
        c[o] = s30; if (wide > 1) c[o + 1] = s31; if (wide > 2) c[o + 2] = s32; if (wide > 3) c[o + 3] = s33;
      }
    }
  }

  let room = new Float32Array(0);  // for the patches of a convolution
  const scratch = n => room.length < n ? room = new Float32Array(n) : room;

  function conv(node, out, x, w, bias) {
    const [maps, depth, kh, kw] = node.kernel, [, , h, b] = x.shape, [, , height, width] = node.shape;
    const { groups, stride: [sy, sx], padding: [py, px] } = node, rows = maps / groups, taps = depth * kh * kw;
    const places = height * width, plain = kh * kw * sy * sx === 1 && py + px === 0;
    node.packed ??= Array.from({ length: groups }, (_, g) =>
      panels(rows, taps, (row, k) => w.data[(g * rows + row) * taps + k]));
    for (let g = 0; g < groups; g++) {
      const first = g * depth * h * b, patches = plain ? x.data : scratch(taps * places);
      if (!plain) {
        for (let k = 0, o = 0; k < taps; k++) {
          const channel = first + Math.floor(k / (kh * kw)) * h * b, dy = Math.floor(k / kw) % kh - py, dx = k % kw - px;
          for (let i = 0; i < height; i++) {
            const y = i * sy + dy, begin = channel + y * b + dx, inside = y >= 0 && y < h;
            for (let j = 0, q = dx; j < width; j++, q += sx, o++)
              patches[o] = inside && q >= 0 && q < b ? x.data[begin + j * sx] : 0;
          }
        }
      }
      product(node.packed[g], rows, taps, patches, plain ? first : 0, places, out, g * rows * places);
    }
    if (bias) shift(out, bias.data, places);
  }

  function convTranspose(node, out, x, w, bias) {
    const [depth, maps, kh, kw] = node.kernel, [, , h, b] = x.shape, [, , height, width] = node.shape;
    const { groups, stride: [sy, sx], padding: [py, px] } = node, inner = depth / groups, rows = maps * kh * kw;
    const places = h * b, spread = scratch(rows * places);
    node.packed ??= Array.from({ length: groups }, (_, g) =>
      panels(rows, inner, (row, k) => w.data[(g * inner + k) * rows + row]));
    out.fill(0);
    for (let g = 0; g < groups; g++) {
      product(node.packed[g], rows, inner, x.data, g * inner * places, places, spread, 0);
      for (let row = 0; row < rows; row++) {
        const to = (g * maps + Math.floor(row / (kh * kw))) * height * width;
        const dy = Math.floor(row / kw) % kh - py, dx = row % kw - px;
        for (let i = 0; i < h; i++) {
          const y = i * sy + dy;
          if (y < 0 || y >= height) continue;
          for (let j = 0, q = dx, o = row * places + i * b; j < b; j++, q += sx, o++)
            if (q >= 0 && q < width) out[to + y * width + q] += spread[o];
        }
      }
    }
    if (bias) shift(out, bias.data, height * width);
  }

  function shift(out, bias, places) {
    for (let i = 0, o = 0; i < bias.length; i++) for (let j = 0; j < places; j++, o++) out[o] += bias[i];
  }

  function affine(node, out, x, scale, offset) {
    const maps = node.shape[1], places = out.length / maps;
    for (let i = 0, o = 0; i < maps; i++)
      for (let j = 0; j < places; j++, o++) out[o] = x.data[o] * scale.data[i] + offset.data[i];
  }

  function matmul(node, out, a, b, c) {
    const [rows, depth] = a.shape.slice(-2), columns = b.shape[b.shape.length - 1];
    for (let i = 0; i * rows * columns < out.length; i++) {
      const from = i * rows * depth, to = i * rows * columns, other = i * depth * columns;
      if (rows > 1) {
        const packed = panels(rows, depth, (row, k) => a.data[from + row * depth + k]);
        product(packed, rows, depth, b.data, other, columns, out, to);
      } else {
        out.fill(0, to, to + columns);
        for (let k = 0; k < depth; k++)
          for (let j = 0, x = a.data[from + k], q = other + k * columns; j < columns; j++) out[to + j] += x * b.data[q + j];
      }
    }
    if (c) for (let i = 0; i < out.length; i++) out[i] += c.data[i % c.data.length];
  }

  function reduced(node, out, x) {
    const kept = x.shape.map((side, axis) => node.axes.includes(axis) ? 1 : side), to = steps(kept, x.shape);
    const n = x.shape[x.shape.length - 1], step = to[to.length - 1], largest = node.by === "max";
    out.fill(largest ? -Infinity : 0);
    eachRow(x.shape, to, to, (o, a) => {
      for (let i = 0; i < n; i++, a += step) out[a] = largest ? Math.max(out[a], x.data[o + i]) : out[a] + x.data[o + i];
    });
    if (node.by === "mean") for (let i = 0; i < out.length; i++) out[i] *= out.length / x.data.length;
  }

  function softmax(node, out, x) {
    const n = node.shape[node.shape.length - 1];
    for (let o = 0; o < out.length; o += n) {
      let most = -Infinity, sum = 0;
      for (let i = 0; i < n; i++) most = Math.max(most, x.data[o + i]);
      for (let i = 0; i < n; i++) sum += out[o + i] = Math.exp(x.data[o + i] - most);
      for (let i = 0; i < n; i++) out[o + i] /= sum;
    }
  }

  // Joined or cut along an axis: runs of `inner` numbers, for each of the sides before the axis.
  function cat(node, out, ...parts) {
    let to = 0;
    const outer = size(node.shape.slice(0, node.axis)), whole = out.length / outer;
    for (const part of parts) {
      const run = part.data.length / outer;
      for (let i = 0; i < outer; i++) out.set(part.data.subarray(i * run, (i + 1) * run), i * whole + to);
      to += run;
    }
  }

  function slice(node, out, x) {
    const outer = size(x.shape.slice(0, node.axis)), inner = size(x.shape.slice(node.axis + 1));
    const run = out.length / outer, whole = x.data.length / outer, from = node.start * inner;
    for (let i = 0; i < outer; i++) out.set(x.data.subarray(i * whole + from, i * whole + from + run), i * run);
  }

  function permute(node, out, x) {
    const own = steps(x.shape, x.shape), moved = node.axes.map(axis => own[axis]);
    copied(node.shape, x, moved)(node, out, x);
  }

  // Enlarged by the nearest pixel, or between the centres of the pixels, of which the outermost go on beyond the border.
  function enlarged(node, out, x) {
    const [, maps, height, width] = node.shape, [, , h, w] = x.shape, bilinear = node.op === "bilinear";
    const along = (n, of) => Array.from({ length: n }, (_, i) => {
      const at = bilinear ? Math.max(0, (i + 0.5) * of / n - 0.5) : Math.floor(i * of / n), first = Math.floor(at);
      return [first, Math.min(first + 1, of - 1), at - first];
    });
    const rows = along(height, h), columns = along(width, w);
    for (let map = 0, o = 0; map < maps; map++)
      for (const [above, below, t] of rows) {
        const a = (map * h + above) * w, b = (map * h + below) * w;
        for (const [left, right, s] of columns)
          out[o++] = (1 - t) * ((1 - s) * x.data[a + left] + s * x.data[a + right])
            + t * ((1 - s) * x.data[b + left] + s * x.data[b + right]);
      }
  }

  const OPERATORS = {
    add: combined, sub: combined, mul: combined, div: combined, pow: combined, eq: combined, affine, conv, matmul,
    conv_transpose: convTranspose, reduce: reduced, softmax, cat, slice, permute, bilinear: enlarged, nearest: enlarged,
    expand: (node, out, x) => copied(node.shape, x, steps(x.shape, node.shape))(node, out, x),
    embedding: (node, out, table, index) =>
      out.set(table.data.subarray(index.data[0] * out.length, (index.data[0] + 1) * out.length)),
    leaky_relu: (node, out, x) => {
      for (let i = 0; i < out.length; i++) out[i] = x.data[i] > 0 ? x.data[i] : x.data[i] * node.slope;
    },
    relu: (node, out, x) => { for (let i = 0; i < out.length; i++) out[i] = x.data[i] > 0 ? x.data[i] : 0; },
    tanh: each(Math.tanh), sin: each(Math.sin), cos: each(Math.cos), sqrt: each(Math.sqrt), exp: each(Math.exp),
    abs: each(Math.abs), neg: each(x => -x), rsqrt: each(x => 1 / Math.sqrt(x)), reciprocal: each(x => 1 / x),
    sigmoid: each(x => 1 / (1 + Math.exp(-x))),
  };

  // The graph and the bytes of its constants -> a function of the inputs, `{name: array or number}`, to the last value.
  // The next call overwrites it.
  function load(graph, bytes) {
    const names = graph.inputs.map(([name]) => name), values = graph.inputs.map(([, shape]) => ({ shape }));
    let offset = 0;
    for (const given of graph.constants) {
      values.push(constant(given, bytes, offset));
      offset += size(given[0]) * (given[1] === "f4" ? 4 : 2);
    }
    const first = values.length;
    for (const node of graph.nodes)
      values.push({ shape: node.shape, data: node.op === "reshape" ? null : new Float32Array(size(node.shape)) });
    return inputs => {
      names.forEach((name, i) => {
        const given = inputs[name];
        values[i].data = Float32Array.from(typeof given === "number" ? [given] : given);
      });
      graph.nodes.forEach((node, i) => {
        const of = node.in.map(number => values[number]), value = values[first + i];
        if (node.op === "reshape") value.data = of[0].data;
        else OPERATORS[node.op](node, value.data, ...of);
      });
      return values[values.length - 1].data;
    };
  }

  return { load };
})();
