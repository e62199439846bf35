#include "model.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>

#include "sequence.hpp"

namespace filament {
namespace {

constexpr int64_t kMost = int64_t{1} << 24;  // of any width or count: far more than any model has
constexpr size_t kAhead = 16384, kLittleAhead = 512;  // bytes; see fetched_ahead
constexpr std::array<const char*, 5> kArchitectures = {"llama", "qwen2", "qwen3", "deci", "openelm"};

size_t in_range(const std::string& what, int64_t value, int64_t least) {
    if (value < least || value > kMost) throw Error(what + " cannot be " + std::to_string(value));
    return static_cast<size_t>(value);
}

// From the third cache weights come a quarter to a third faster when they are asked for early; from memory, where the
// processor asks early by itself, as much slower, and a twentieth faster when they are asked for just before (Zen 4,
// docs/lab-notes.md). The size is what the system says; processors that are shared by virtual machines say more.
size_t fetched_ahead(size_t weight_bytes) {
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index3/size");
    size_t kilobytes = 0;
    file >> kilobytes;
    return weight_bytes <= kilobytes << 10 ? kAhead : kLittleAhead;
}

}  // namespace

Model::Model(const std::string& path, size_t threads, const Kernels& kernels)
    : file_(std::make_unique<File>(path)), kernels_(kernels), team_(std::make_unique<Team>(threads)) {
    try {
        read_shape();
        read_layers();
        pack_all();
    } catch (const Error& e) {
        throw Error(path + ": " + e.what());
    }
}

void Model::read_shape() {
    architecture_ = file_->text("general.architecture");
    if (std::find(kArchitectures.begin(), kArchitectures.end(), architecture_) == kArchitectures.end()) {
        throw Error("models of the architecture " + architecture_ + " cannot be run; these can: llama, qwen2, qwen3, deci, openelm");
    }
    const std::string in = architecture_ + ".";
    const size_t count = in_range(in + "block_count", file_->integer(in + "block_count"), 1);
    if (count > 4096) throw Error("a model of " + std::to_string(count) + " layers");
    width = in_range(in + "embedding_length", file_->integer(in + "embedding_length"), 1);
    context = in_range(in + "context_length", file_->integer(in + "context_length", 2048), 1);
    epsilon = static_cast<float>(file_->number(in + "attention.layer_norm_rms_epsilon", 1e-5));
    heads_ = file_->per_layer(in + "attention.head_count", count);
    kv_heads_ = file_->per_layer(in + "attention.head_count_kv", count, heads_[0]);
    feed_forward_ = file_->per_layer(in + "feed_forward_length", count);
    const int64_t most_heads = *std::max_element(heads_.begin(), heads_.end());
    if (most_heads < 1) throw Error("a model without attention");
    head = in_range("the width of a head", file_->integer(in + "attention.key_length", static_cast<int64_t>(width) / most_heads), 2);
    if (head % 2 != 0 || head > 1024) throw Error("heads of width " + std::to_string(head));
    if (file_->integer(in + "attention.value_length", static_cast<int64_t>(head)) != static_cast<int64_t>(head)) {
        throw Error("keys and values of different widths");
    }
    embedding_ = &file_->tensor("token_embd.weight");
    if (embedding_->columns() != width) throw Error("token_embd.weight does not fit " + in + "embedding_length");
    vocabulary = in_range("the vocabulary", static_cast<int64_t>(embedding_->rows()), 1);

    const auto scaling = file_->text(in + "rope.scaling.type", "linear");
    if (scaling != "none" && scaling != "linear") throw Error("positions scaled by " + scaling);
    double factor = file_->number(in + "rope.scaling.factor", file_->number(in + "rope.scale_linear", 1));
    if (scaling == "none" || factor == 0) factor = 1;
    const double base = file_->number(in + "rope.freq_base", 10000);
    if (file_->integer(in + "rope.dimension_count", static_cast<int64_t>(head)) != static_cast<int64_t>(head)) {
        throw Error("positions that turn a part of a head only");
    }
    rope.halves = architecture_ == "qwen2" || architecture_ == "qwen3" || architecture_ == "openelm";
    std::vector<float> slower(head / 2, 1);
    if (file_->find("rope_freqs.weight")) slower = vector("rope_freqs.weight", head / 2);
    for (size_t i = 0; i < head / 2; ++i) {
        const double turns = std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(head));
        rope.frequencies.push_back(turns / factor / static_cast<double>(slower[i]));
    }
}

void Model::read_layers() {
    for (size_t i = 0; i < heads_.size(); ++i) layers.push_back(read_layer(i, "blk." + std::to_string(i) + "."));
    output_norm = vector("output_norm.weight", width);
    logits = linear(file_->find("output.weight") ? "output" : "token_embd", vocabulary, width);
}

Layer Model::read_layer(size_t index, const std::string& prefix) {
    Layer layer;
    layer.heads = in_range(prefix + "heads", heads_[index], 0);
    layer.kv_heads = in_range(prefix + "key heads", kv_heads_[index], 0);
    layer.feed_forward = in_range(prefix + "feed-forward width", feed_forward_[index], 0);
    if (layer.heads != 0) {
        if (layer.kv_heads == 0 || layer.heads % layer.kv_heads != 0) {
            throw Error(prefix + " has " + std::to_string(layer.heads) + " heads on " + std::to_string(layer.kv_heads) + " of keys");
        }
        const size_t queries = layer.heads * head, keys = layer.kv_heads * head;
        layer.attention_norm = vector(prefix + "attn_norm.weight", width);
        if (file_->find(prefix + "attn_qkv.weight")) {
            layer.q = cut(prefix + "attn_qkv", 0, queries, width);
            layer.k = cut(prefix + "attn_qkv", queries, keys, width);
            layer.v = cut(prefix + "attn_qkv", queries + keys, keys, width);
        } else {
            layer.q = linear(prefix + "attn_q", queries, width);
            layer.k = linear(prefix + "attn_k", keys, width);
            layer.v = linear(prefix + "attn_v", keys, width);
        }
        layer.output = linear(prefix + "attn_output", width, queries);
        layer.q_norm = vector(prefix + "attn_q_norm.weight", head, false);
        layer.k_norm = vector(prefix + "attn_k_norm.weight", head, false);
    }
    if (layer.feed_forward != 0) {
        layer.feed_forward_norm = vector(prefix + "ffn_norm.weight", width);
        layer.gate = linear(prefix + "ffn_gate", layer.feed_forward, width);
        layer.up = linear(prefix + "ffn_up", layer.feed_forward, width);
        layer.down = linear(prefix + "ffn_down", width, layer.feed_forward);
    }
    return layer;
}

Linear Model::linear(const std::string& name, size_t rows, size_t columns) {
    if (file_->tensor(name + ".weight").rows() != rows) throw Error(name + ".weight does not have " + std::to_string(rows) + " rows");
    return cut(name, 0, rows, columns);
}

// Rows [first, first + rows) of a matrix, its bias and its scale with it. The matrix is packed later, in one go.
Linear Model::cut(const std::string& name, size_t first, size_t rows, size_t columns) {
    const Tensor& weights = file_->tensor(name + ".weight");
    if (weights.columns() != columns) throw Error(name + ".weight does not have " + std::to_string(columns) + " columns");
    const float scale = file_->find(name + ".scale") ? vector(name + ".scale", 1)[0] : 1;
    packings_.push_back(plan(weights, first, rows, scale));  // it has these rows, and so has the bias
    Linear linear;
    if (file_->find(name + ".bias")) {
        const auto biases = vector(name + ".bias", weights.rows());
        linear.bias.assign(biases.begin() + static_cast<std::ptrdiff_t>(first), biases.begin() + static_cast<std::ptrdiff_t>(first + rows));
        linear.bias.resize(whole(rows));
    }
    linear.matrix = packings_.back().matrix;
    linear.packing = packings_.size() - 1;
    return linear;
}

// n floats, followed by zeros up to whole tiles; nothing when it is absent and not needed.
std::vector<float> Model::vector(const std::string& name, size_t n, bool needed) {
    const Tensor* tensor = needed ? &file_->tensor(name) : file_->find(name);
    if (!tensor) return {};
    if (tensor->columns() != n || tensor->rows() != 1) throw Error(name + " does not have " + std::to_string(n) + " entries");
    std::vector<float> values(whole(n));
    read_row(*tensor, 0, values.data());
    return values;
}

void Model::pack_all() {
    std::vector<size_t> places;
    for (const Packing& packing : packings_) places.push_back(weight_bytes), weight_bytes += packing.bytes();
    weights_ = Buffer(weight_bytes);
    std::atomic<size_t> next{0};
    std::atomic<bool> full{false};  // a job must not throw
    team_->run([&](const Member&) {
        // A tensor is forgotten when it is packed, and the head, the largest as a rule, comes first: the file and what is
        // packed are never in memory together.
        try {
            for (size_t i; (i = next.fetch_add(1)) < packings_.size();) {
                Packing& packing = packings_[packings_.size() - 1 - i];
                pack(packing, weights_.data() + places[packings_.size() - 1 - i], kernels_.biased);
                file_->forget(*packing.tensor);
            }
        } catch (const std::bad_alloc&) {
            full = true;
        }
    });
    if (full) throw std::bad_alloc();
    const size_t ahead = fetched_ahead(weight_bytes);
    const auto settle = [&](Linear& linear) {
        if (linear) linear.matrix = packings_[linear.packing].matrix, linear.matrix.ahead = ahead;
    };
    for (Layer& layer : layers) {
        for (Linear* linear : {&layer.q, &layer.k, &layer.v, &layer.output, &layer.gate, &layer.up, &layer.down}) settle(*linear);
    }
    settle(logits);
    packings_.clear();
    file_->forget();  // the header, and pages that hold the end of one tensor and the beginning of the next
}

void Model::embed(size_t token, float* out) const {
    read_row(*embedding_, token, out);
}

Model::Cost Model::cost(size_t context) const {
    const size_t stored = whole(head);
    Cost cost{weight_bytes, 2 * logits.matrix.rows * logits.matrix.columns};
    for (const Layer& layer : layers) {
        for (const Linear* l : {&layer.q, &layer.k, &layer.v, &layer.output, &layer.gate, &layer.up, &layer.down}) {
            cost.operations += 2 * l->matrix.rows * l->matrix.columns;
        }
        cost.bytes += layer.kv_heads * context * (2 * stored + sizeof(float) + stored / key_block(stored) * sizeof(uint16_t));
        cost.operations += 4 * layer.heads * head * context;
    }
    return cost;
}

size_t Model::widest() const {
    size_t most = std::max(width, head);
    for (const Layer& layer : layers) most = std::max({most, layer.heads * head, layer.feed_forward});
    return whole(most);
}

}  // namespace filament
