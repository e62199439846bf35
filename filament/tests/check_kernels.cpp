// Every kernel of one instruction set (the argument; `list` names them) beside plain C++ in double precision, over odd
// sizes. Prints what is wrong, and ends with the number of faults, at most 100.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "half.hpp"
#include "kv_cache.hpp"
#include "memory.hpp"
#include "pack.hpp"

using namespace filament;

namespace {

constexpr float kUntouched = 12345;
constexpr double kRounding = 2e-5;  // of a sum of floats, relative to the sum of its terms' magnitudes
std::mt19937 random_bits(1);
int faults = 0;

float number(float most = 1) { return std::uniform_real_distribution<float>(-most, most)(random_bits); }

std::vector<float> numbers(size_t n, size_t padded, float most = 1) {
    std::vector<float> x(padded);
    for (size_t i = 0; i < n; ++i) x[i] = number(most);
    return x;
}

void expect(bool good, const std::string& what) {
    if (!good && ++faults <= 20) std::printf("wrong: %s\n", what.c_str());
}

void expect_near(double ours, double truth, double tolerance, const std::string& what) {
    expect(std::fabs(ours - truth) <= tolerance,
           what + ": " + std::to_string(ours) + " is not " + std::to_string(truth));
}

// A matrix of random blocks as a file holds it.
struct RandomTensor {
    Tensor tensor;
    std::vector<uint8_t> bytes;

    RandomTensor(const BlockType& type, size_t rows, size_t columns) {
        tensor.name = type.name, tensor.type = type.type, tensor.shape = {columns, rows};
        bytes.resize(rows * tensor.row_bytes());
        for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random_bits());
        for (size_t at = 0; at < bytes.size(); at += type.bytes) fill_block(type, &bytes[at]);
        tensor.data = bytes.data(), tensor.bytes = bytes.size();
    }

  private:
    static void fill_block(const BlockType& type, uint8_t* block) {
        const float x = number();
        const uint32_t bits = float_to_bits(x);
        const uint16_t half = type.type == Type::BF16 ? static_cast<uint16_t>(bits >> 16) : float_to_half(x);
        if (traits(type.layout).is_float())
            std::memcpy(block, type.bytes == 4 ? static_cast<const void*>(&bits) : &half, type.bytes);
        for (const ScaleField& field : type.scales) {
            for (size_t i = 0; field.bytes == 2 && i < field.count; ++i) {
                const uint16_t scale = float_to_half(number(0.1f));
                std::memcpy(block + field.offset + 2 * i, &scale, 2);
            }
        }
    }
};

// Rows of activations in all forms that a kernel may ask for, and the numbers that they stand for.
struct RandomInput {
    size_t stride;
    std::vector<float> values, scales;
    std::vector<int8_t> codes;
    std::vector<int32_t> sums;
    std::vector<double> meant;

    RandomInput(const Kernels& kernels, size_t tokens, size_t columns, size_t block)
        : stride(round_up(columns)),
          values(tokens * stride),
          scales(tokens * stride),
          codes(tokens * stride),
          sums(tokens * stride),
          meant(tokens * stride) {
        for (size_t t = 0; t < tokens; ++t) {
            for (size_t c = 0; c < columns; ++c) meant[t * stride + c] = values[t * stride + c] = number();
            if (block == 1) continue;
            const size_t blocks = columns / block;
            kernels.quantize(&values[t * stride], columns, block, &codes[t * stride], &scales[t * blocks],
                             &sums[t * blocks]);
            for (size_t c = 0; c < columns; ++c)
                meant[t * stride + c] = double(codes[t * stride + c]) * double(scales[t * blocks + c / block]);
        }
    }
    Activations view(size_t tokens) const {
        return {tokens, stride, values.data(), codes.data(), scales.data(), sums.data()};
    }
};

void check_product(const Kernels& kernels, const BlockType& type, size_t rows, size_t columns, size_t tokens) {
    const std::string what = std::string(type.name) + " " + std::to_string(rows) + "x" + std::to_string(columns) +
                             " times " + std::to_string(tokens);
    const RandomTensor random(type, rows + 1, columns);
    Packing packing = plan(random.tensor, 1, rows, 0.5f);  // a part of the rows, as of a fused matrix
    const Buffer place(packing.bytes());
    pack(packing, place.data(), kernels.biased);
    packing.matrix.ahead = kChunk;
    const RandomInput input(kernels, tokens, columns, traits(type.layout).block);
    const size_t tiles = packing.matrix.tiles(), stride = tiles * kTile, begin = tiles / 2;
    std::vector<float> all(tokens * stride, kUntouched), part(tokens * stride, kUntouched);
    kernels.multiply(packing.matrix, input.view(tokens), 0, tiles, all.data(), stride, false);
    kernels.multiply(packing.matrix, input.view(tokens), begin, tiles, part.data(), stride, true);
    const std::vector<float> bias = numbers(rows, stride, 3);
    std::vector<float> biased(tokens * stride, 7);
    packing.matrix.bias = bias.data();
    kernels.multiply(packing.matrix, input.view(tokens), 0, tiles, biased.data(), stride, true);
    std::vector<float> weights(columns);
    for (size_t r = 0; r < rows; ++r) {
        read_row(random.tensor, r + 1, weights.data());
        for (size_t t = 0; t < tokens; ++t) {
            double truth = 0, magnitude = 0;
            for (size_t c = 0; c < columns; ++c) {
                const double term = 0.5 * double(weights[c]) * input.meant[t * input.stride + c];
                truth += term, magnitude += std::fabs(term);
            }
            const float ours = all[t * stride + r], added = part[t * stride + r];
            expect_near(ours, truth, kRounding * magnitude, what);
            expect(biased[t * stride + r] == 7 + ours + bias[r], what + ", with a bias");
            expect(added == (r < begin * kTile ? kUntouched : kUntouched + ours), what + ", added to a part");
        }
    }
}

void check_products(const Kernels& kernels) {
    for (const BlockType& type : block_types()) {
        for (const size_t rows : {1, 15, 16, 33}) {
            for (const size_t tokens : {1, 2, 3, 5, 8, 15}) {
                for (const size_t blocks : {1, 2, 3}) check_product(kernels, type, rows, blocks * type.columns, tokens);
                if (type.columns == 1) check_product(kernels, type, rows, 61, tokens);
            }
        }
    }
}

// One text's keys and values of one head: scores of queries, and mixtures of values, from a position on.
void check_cache(const Kernels& kernels, size_t head, size_t end, size_t begin) {
    const std::string what =
        "a head of " + std::to_string(head) + ", positions " + std::to_string(begin) + " to " + std::to_string(end);
    const size_t stored = round_up(head), block = key_block(stored), capacity = end + 5;
    const Mapped place(HeadCache::bytes(head, capacity));
    HeadCache cache(head, capacity, kernels.biased, place.data());
    std::vector<std::vector<float>> keys, values;
    for (size_t p = 0; p < end; ++p) {
        keys.push_back(numbers(head, stored)), values.push_back(numbers(head, stored, 1 + float(p % 3)));
        cache.store(kernels, p, keys[p].data(), values[p].data());
    }
    const Matrix stored_keys = cache.keys(begin, end), stored_values = cache.values(begin, end);
    const size_t padded = stored_values.columns, tokens = 3;
    RandomInput queries(kernels, tokens, stored, block);
    std::vector<float> scores(tokens * round_up(end - begin)), mixed(tokens * stored);
    const size_t stride = round_up(end - begin);
    kernels.multiply(stored_keys, queries.view(tokens), 0, stored_keys.tiles(), scores.data(), stride, false);
    RandomInput weights(kernels, tokens, padded, kValueBlock);
    std::vector<float> scaled(tokens * padded);
    std::vector<double> meant(tokens * padded);
    for (size_t t = 0; t < tokens; ++t) {
        for (size_t p = 0; p < padded; ++p)
            scaled[t * padded + p] = begin + p < end ? weights.values[t * padded + p] : 0;
        for (size_t p = 0; p < padded; ++p) meant[t * padded + p] = scaled[t * padded + p];
        kernels.scale(&scaled[t * padded], cache.value_scales() + begin, padded, 1);
        const size_t blocks = padded / kValueBlock;
        kernels.quantize(&scaled[t * padded], padded, kValueBlock, &weights.codes[t * padded],
                         &weights.scales[t * blocks], &weights.sums[t * blocks]);
    }
    kernels.multiply(stored_values, weights.view(tokens), 0, stored / kTile, mixed.data(), stored, false);
    for (size_t t = 0; t < tokens; ++t) {
        for (size_t p = begin; p < end; ++p) {
            double truth = 0;
            for (size_t c = 0; c < head; ++c) truth += queries.meant[t * stored + c] * double(keys[p][c]);
            expect_near(scores[t * stride + p - begin], truth, 0.005 * double(head),
                        what + ", scores");  // half a step of 1/127
        }
        for (size_t c = 0; c < head; ++c) {
            double truth = 0;
            for (size_t p = begin; p < end; ++p) truth += meant[t * padded + p - begin] * double(values[p][c]);
            expect_near(mixed[t * stored + c], truth, 0.03 * double(end - begin), what + ", values");
        }
    }
}

void check_quantize(const Kernels& kernels, size_t n, size_t block) {
    const std::string what = "quantize " + std::to_string(n) + " in blocks of " + std::to_string(block);
    std::vector<float> x = numbers(n, n, 3);
    std::fill_n(x.begin(), block, 0.0f);  // a block of zeros, too
    std::vector<int8_t> codes(n);
    std::vector<float> scales(n / block);
    std::vector<int32_t> sums(n / block);
    kernels.quantize(x.data(), n, block, codes.data(), scales.data(), sums.data());
    for (size_t b = 0; b < n / block; ++b) {
        float most = 0;
        int32_t sum = 0;
        for (size_t i = b * block; i < (b + 1) * block; ++i) most = std::max(most, std::fabs(x[i])), sum += codes[i];
        expect(scales[b] == most / 127 && sums[b] == sum, what);
        for (size_t i = b * block; i < (b + 1) * block; ++i) {
            expect_near(double(codes[i]) * double(scales[b]), x[i], 0.50001 * double(scales[b]), what);
        }
    }
    x.assign(n, std::numeric_limits<float>::quiet_NaN());
    kernels.quantize(x.data(), n, block, codes.data(), scales.data(), sums.data());
    for (const int8_t code : codes) expect(code >= -127, what + ", not numbers");
}

void check_rms_norm(const Kernels& kernels, size_t n) {
    const size_t padded = round_up(n);
    const std::vector<float> x = numbers(n, padded, 5), weight = numbers(n, padded, 2);
    std::vector<float> out(padded + kTile, kUntouched), in_place = x;
    kernels.rms_norm(x.data(), weight.data(), n, 1e-3f, out.data());
    kernels.rms_norm(in_place.data(), weight.data(), n, 1e-3f, in_place.data());
    double squares = 0;
    for (size_t i = 0; i < n; ++i) squares += double(x[i]) * double(x[i]);
    for (size_t i = 0; i < padded; ++i) {
        const double truth = i < n ? double(x[i]) / std::sqrt(squares / double(n) + 1e-3) * double(weight[i]) : 0;
        expect_near(out[i], truth, 1e-5 * std::fabs(truth), "rms_norm of " + std::to_string(n));
        expect(in_place[i] == out[i], "rms_norm in its place");
    }
    expect(out[padded] == kUntouched, "rms_norm writes beyond its end");
}

void check_layer_norm(const Kernels& kernels, size_t n) {
    const size_t padded = round_up(n);
    std::vector<float> x = numbers(n, padded, 5);
    const std::vector<float> weight = numbers(n, padded, 2), bias = numbers(n, padded, 2);
    double mean = 0, squares = 0;
    for (size_t i = 0; i < n; ++i) mean += double(x[i]) / double(n);
    for (size_t i = 0; i < n; ++i) squares += (double(x[i]) - mean) * (double(x[i]) - mean);
    std::fill(x.begin() + std::ptrdiff_t(n), x.end(), kUntouched);  // what lies beyond is not looked at
    std::vector<float> out(padded + kTile, kUntouched), in_place = x;
    kernels.layer_norm(x.data(), weight.data(), bias.data(), n, 1e-3f, out.data());
    kernels.layer_norm(in_place.data(), weight.data(), bias.data(), n, 1e-3f, in_place.data());
    for (size_t i = 0; i < padded; ++i) {
        const double scale = std::sqrt(squares / double(n) + 1e-3);
        const double truth = i < n ? (double(x[i]) - mean) / scale * double(weight[i]) + double(bias[i]) : 0;
        expect_near(out[i], truth, i < n ? 1e-5 : 0, "layer_norm of " + std::to_string(n));
        expect(in_place[i] == out[i], "layer_norm in its place");
    }
    expect(out[padded] == kUntouched, "layer_norm writes beyond its end");
}

void check_gelu(const Kernels& kernels, size_t n) {
    const size_t padded = round_up(n);
    std::vector<float> x = numbers(n, padded, 6), out(padded);
    x[0] = 200, x[n / 2] = -200, x[n - 1] = 0;
    kernels.gelu(x.data(), n, out.data());
    for (size_t i = 0; i < n; ++i) {
        const double v = x[i], truth = 0.5 * v * std::erfc(-v / std::sqrt(2.0));
        expect_near(out[i], truth, 4e-7 * std::fabs(v), "gelu");
    }
}

void check_gates(const Kernels& kernels, size_t n) {
    const size_t padded = round_up(n);
    std::vector<float> gate = numbers(n, padded, 12), up = numbers(n, padded, 2), silu(padded), gelu(padded);
    gate[0] = 200, gate[n / 2] = -200, gate[n - 1] = 0;
    kernels.silu_gate(gate.data(), up.data(), n, silu.data());
    kernels.gelu_gate(gate.data(), up.data(), n, gelu.data());
    for (size_t i = 0; i < n; ++i) {
        const double g = gate[i], u = up[i], magnitude = 1e-5 * std::fabs(g * u) + 1e-30;
        expect_near(silu[i], g / (1 + std::exp(-g)) * u, magnitude, "silu_gate");
        const double y = std::sqrt(2 / 3.14159265358979) * (g + 0.044715 * g * g * g);
        expect_near(gelu[i], 0.5 * g * (1 + std::tanh(y)) * u, magnitude, "gelu_gate");
    }
}

void check_mlgru(const Kernels& kernels, size_t n) {
    std::vector<float> forget = numbers(n, n, 12), candidate = numbers(n, n, 12), gate = numbers(n, n, 12);
    std::vector<float> lower = numbers(n, n), h = numbers(n, n, 5), out(n);
    for (float& least : lower) least = std::fabs(least) * 0.999f;
    forget[0] = 200, forget[n / 2] = -200, candidate[1] = 200, candidate[2] = -200, gate[3] = 200, gate[4] = -200;
    std::vector<float> before = h, again = h, in_place = gate;
    kernels.mlgru(forget.data(), candidate.data(), gate.data(), lower.data(), n, h.data(), out.data());
    kernels.mlgru(forget.data(), candidate.data(), in_place.data(), lower.data(), n, again.data(), in_place.data());
    const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
    for (size_t i = 0; i < n; ++i) {
        const double f = double(lower[i]) + (1 - double(lower[i])) * sigmoid(forget[i]);
        const double come = double(candidate[i]) * sigmoid(candidate[i]);
        const double now = f * double(before[i]) + (1 - f) * come;
        const double near = 1e-6 * (std::fabs(double(before[i])) + std::fabs(come));
        expect_near(h[i], now, near, "mlgru, state");
        expect_near(out[i], sigmoid(gate[i]) * now, 2 * near, "mlgru");
        expect(again[i] == h[i] && in_place[i] == out[i], "mlgru in the gate's place");
    }
}

void check_softmax_exp(const Kernels& kernels, size_t begin, size_t end, size_t n) {
    const std::vector<float> x = numbers(n, n, 30);
    std::vector<float> out = x;
    const double total = kernels.softmax_exp(out.data(), begin, end, n, 0.7f);
    const double most = *std::max_element(x.begin() + std::ptrdiff_t(begin), x.begin() + std::ptrdiff_t(end));
    double sum = 0;
    for (size_t i = 0; i < n; ++i) {
        const double truth = i >= begin && i < end ? std::exp(0.7 * (double(x[i]) - most)) : 0;
        expect_near(out[i], truth, 1e-5 * truth, "softmax_exp");
        sum += truth;
    }
    expect_near(total, sum, 1e-5 * sum, "sum of softmax_exp");
}

void check_scale(const Kernels& kernels, size_t n) {
    const std::vector<float> x = numbers(n, n), by = numbers(n, n);
    std::vector<float> out = x;
    kernels.scale(out.data(), by.data(), n, 3);
    for (size_t i = 0; i < n; ++i) expect(out[i] == x[i] * by[i] * 3, "scale");
}

void check_read(const Kernels& kernels, size_t n) {
    std::vector<uint8_t> bytes(n);
    int8_t by[32];
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random_bits() % 100);
    for (int8_t& x : by) x = static_cast<int8_t>(random_bits() % 255 - 127);
    int32_t once = 0, often = 0;
    for (size_t i = 0; i < n; ++i) {
        once += bytes[i] * by[4 * (i / kChunk % kReadOften) + i % 4];
        for (size_t j = 0; j < kReadOften; ++j) often += bytes[i] * by[4 * j + i % 4];
    }
    expect(kernels.read_once(bytes.data(), n, by) == once, "read_once");
    expect(kernels.read_often(bytes.data(), n, by) == often, "read_often");
}

// Numbers as large as a classifier may hold: sums pass 32 bits, and are exact.
void check_add_rows(const Kernels& kernels, size_t n, size_t columns, bool largest) {
    std::vector<int8_t> weights(n * columns);
    std::vector<int16_t> by(n);
    std::vector<const int8_t*> rows;
    for (int8_t& w : weights) w = static_cast<int8_t>(largest ? -128 : random_bits());
    for (int16_t& x : by) x = static_cast<int16_t>(largest ? 32767 : random_bits() % 32768);
    for (size_t i = 0; i < n; ++i) rows.push_back(&weights[random_bits() % n * columns]);
    std::vector<int64_t> sums(columns, 5);
    kernels.add_rows(rows.data(), by.data(), n, columns, sums.data());
    for (size_t j = 0; j < columns; ++j) {
        int64_t truth = 5;
        for (size_t i = 0; i < n; ++i) truth += int64_t{by[i]} * rows[i][j];
        expect(sums[j] == truth, "add_rows of " + std::to_string(n) + " times " + std::to_string(columns));
    }
}

void check_multiply_words(const Kernels& kernels, size_t rows, size_t columns, bool largest) {
    std::vector<int16_t> matrix(rows * columns), x(columns);
    for (int16_t& w : matrix) w = static_cast<int16_t>(largest ? -2048 : int(random_bits() % 4096) - 2048);
    for (int16_t& v : x) v = static_cast<int16_t>(largest ? -32768 : random_bits());
    std::vector<int64_t> sums(rows, 5);
    kernels.multiply_words(matrix.data(), rows, columns, x.data(), sums.data());
    for (size_t i = 0; i < rows; ++i) {
        int64_t truth = 0;
        for (size_t j = 0; j < columns; ++j)
            truth += int64_t{matrix[i / 16 * 16 * columns + j / 2 * 32 + i % 16 * 2 + j % 2]} * x[j];
        expect(sums[i] == truth, "multiply_words of " + std::to_string(rows) + " times " + std::to_string(columns));
    }
}

}  // namespace

int main(int count, char** arguments) {
    if (count > 1 && std::strcmp(arguments[1], "list") == 0) {
        for (const char* name : available()) std::printf("%s\n", name);
        return 0;
    }
    const Kernels& table = count > 1 ? kernels(arguments[1]) : kernels();
    check_products(table);
    for (const size_t head : {2, 6, 16, 24, 32, 80, 1024}) {
        for (const auto& [end, begin] : {std::pair<size_t, size_t>{1, 0}, {33, 0}, {64, 32}, {101, 64}})
            check_cache(table, head, end, begin);
    }
    for (const size_t block : {16, 32, 48, 256}) {
        for (const size_t blocks : {1, 2, 3}) check_quantize(table, blocks * block, block);
    }
    for (const size_t n : {1, 2, 15, 16, 17, 100, 257})
        check_rms_norm(table, n), check_layer_norm(table, n), check_gelu(table, n), check_gates(table, n);
    for (const auto& [begin, end, n] :
         {std::array<size_t, 3>{0, 1, 32}, {0, 32, 32}, {31, 32, 32}, {5, 50, 64}, {0, 95, 96}}) {
        check_softmax_exp(table, begin, end, n);
    }
    for (const size_t n : {16, 48}) check_scale(table, n), check_mlgru(table, n);
    for (const size_t n : {512, 1536}) check_read(table, n);
    for (const bool largest : {false, true}) {
        for (const size_t n : {0, 2, 100, 510, 512, 514, 1100}) {
            for (const size_t columns : {16, 32, 80, 96, 176}) check_add_rows(table, n, columns, largest);
        }
        for (const size_t columns : {2, 28, 30, 32, 128}) {
            for (const size_t rows : {16, 80}) check_multiply_words(table, rows, columns, largest);
        }
    }
    std::printf("%s: %d faults\n", table.name, faults);
    return std::min(faults, 100);
}
