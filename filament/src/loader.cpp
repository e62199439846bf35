#include "loader.hpp"

#include <algorithm>
#include <cmath>

#include "attention.hpp"
#include "feed_forward.hpp"
#include "mlgru.hpp"

namespace filament {

struct Architecture {
    const char* name;
    bool rope_halves;                // see Rope
    bool linear;                     // layers with heads but without keys have a LinearMixer
    bool gemma;                      // scaled embeddings, GELU, norms behind each branch, windows in most layers
    bool matmulfree;                 // the file names each layer's mixer (docs/format.md)
    const char* out_norm = nullptr;  // ternary weights: the norm before attn_output, and the next before ffn_down
    const char* down_norm = nullptr;
};

namespace {

// clang-format off
constexpr Architecture kArchitectures[] = {
    {"llama", false, false, false, false}, {"qwen2", true, false, false, false},   {"qwen3", true, false, false, false},
    {"deci", false, true, false, false},   {"openelm", true, false, false, false}, {"gemma3", true, false, true, false},
    {"matmulfree", true, false, false, true, "attn_out_norm", "ffn_down_norm"},
    {"lightbulb-recurrent", true, false, false, true},
    {"bitnet", true, false, false, false, "attn_sub_norm", "ffn_sub_norm"},
};
// clang-format on
constexpr size_t kMostLayers = 4096;
constexpr int64_t kGemmaPeriod = 6;     // the last of so many layers sees everything, where the file names none
constexpr size_t kGemma27bLayers = 62;  // llama.cpp knows that model, which scales scores otherwise, by its depth
enum RopeOf : size_t { kGlobalRope, kLocalRope };

const Architecture& architecture(const std::string& name) {
    std::string known;
    for (const Architecture& each : kArchitectures) {
        if (name == each.name) return each;
        known += std::string(known.empty() ? "" : ", ") + each.name;
    }
    throw Error("models of the architecture " + name + " cannot be run; these can: " + known);
}

Rope rope(bool halves, double base, double factor, size_t head, const std::vector<float>& slower) {
    Rope rope{halves, {}};
    for (size_t i = 0; i < head / 2; ++i) {
        const double turns = std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(head));
        rope.frequencies.push_back(turns / factor / static_cast<double>(slower[i]));
    }
    return rope;
}

}  // namespace

void Loader::load() {
    read_sizes();
    read_ropes();
    for (size_t i = 0; i < heads_.size(); ++i) model_.layers.push_back(read_layer(i));
    model_.output_norm = norm("output_norm.weight", model_.width);
    model_.logits =
        linears_.linear(file_.find("output.weight") ? "output" : "token_embd", model_.vocabulary, model_.width);
    if (architecture_->matmulfree || architecture_->out_norm) linears_.refuse_others();
    pack_all();
}

std::string Loader::key(const char* name) const { return std::string(architecture_->name) + "." + name; }

void Loader::read_sizes() {
    architecture_ = &architecture(file_.text("general.architecture"));
    const size_t layers = in_range(key("block_count"), file_.integer(key("block_count")), 1);
    if (layers > kMostLayers) throw Error("a model of " + std::to_string(layers) + " layers");
    model_.width = in_range(key("embedding_length"), file_.integer(key("embedding_length")), 1);
    model_.context = in_range(key("context_length"), file_.integer(key("context_length"), 2048), 1);
    epsilon_ = static_cast<float>(file_.number(key("attention.layer_norm_rms_epsilon"), 1e-5));
    read_mixers(layers);
    read_heads(layers);
    read_windows(layers);
    model_.embedding = &linears_.tensor("token_embd.weight");
    if (model_.embedding->columns() != model_.width)
        throw Error("token_embd.weight does not fit " + key("embedding_length"));
    model_.vocabulary = in_range("the vocabulary", static_cast<int64_t>(model_.embedding->rows()), 1);
    const auto rows = static_cast<int64_t>(model_.vocabulary);
    if ((architecture_->matmulfree || architecture_->out_norm) && file_.integer(key("vocab_size"), rows) != rows)
        throw Error("token_embd.weight does not fit " + key("vocab_size"));
    if (architecture_->gemma) model_.embedding_scale = std::sqrt(static_cast<float>(model_.width));
    if (file_.number(key("final_logit_softcapping"), 0) != 0) throw Error("logits that are capped");
}

void Loader::read_mixers(size_t layers) {
    recurrent_.assign(layers, false);
    if (!architecture_->matmulfree) return;
    const std::vector<std::string> mixers = file_.texts(key("mixer"));
    if (mixers.size() != layers)
        throw Error(key("mixer") + " names " + std::to_string(mixers.size()) + " layers, not the model's " +
                    std::to_string(layers));
    for (size_t i = 0; i < layers; ++i) {
        recurrent_[i] = mixers[i] == "mlgru";
        if (!recurrent_[i] && mixers[i] != "attention")
            throw Error("mixers of the kind " + mixers[i] + " cannot be run; these can: mlgru, attention");
    }
}

void Loader::read_heads(size_t layers) {
    feed_forward_ = file_.per_layer(key("feed_forward_length"), layers);
    heads_.assign(layers, 0), kv_heads_.assign(layers, 0);
    if (std::find(recurrent_.begin(), recurrent_.end(), false) == recurrent_.end()) return;
    heads_ = file_.per_layer(key("attention.head_count"), layers);
    kv_heads_ = file_.per_layer(key("attention.head_count_kv"), layers, heads_[0]);
    const int64_t most = *std::max_element(heads_.begin(), heads_.end());
    if (most < 1) throw Error("a model without attention");
    const auto width = static_cast<int64_t>(model_.width);
    head_ = in_range("the width of a head", file_.integer(key("attention.key_length"), width / most), 2);
    if (head_ % 2 != 0 || head_ > kMostHeadWidth) throw Error("heads of width " + std::to_string(head_));
    if (file_.integer(key("attention.value_length"), static_cast<int64_t>(head_)) != static_cast<int64_t>(head_)) {
        throw Error("keys and values of different widths");
    }
}

// Which layers see only the positions of a window: one entry for each, or the period of those that see everything.
void Loader::read_windows(size_t layers) {
    windows_.assign(layers, 0);
    if (!architecture_->gemma) return;
    const size_t window = in_range("a window", file_.integer(key("attention.sliding_window"), 0), 0);
    const std::string pattern = key("attention.sliding_window_pattern");
    if (file_.is_list(pattern)) {
        const std::vector<int64_t> slides = file_.per_layer(pattern, layers);
        for (size_t i = 0; i < layers; ++i) windows_[i] = slides[i] != 0 ? window : 0;
    } else {
        const size_t period = in_range(pattern, file_.integer(pattern, kGemmaPeriod), 1);
        for (size_t i = 0; i < layers; ++i) windows_[i] = (i + 1) % period != 0 ? window : 0;
    }
}

void Loader::read_ropes() {
    if (head_ == 0) return;
    const auto scaling = file_.text(key("rope.scaling.type"), "linear");
    if (scaling != "none" && scaling != "linear") throw Error("positions scaled by " + scaling);
    double factor = file_.number(key("rope.scaling.factor"), file_.number(key("rope.scale_linear"), 1));
    if (scaling == "none" || factor == 0) factor = 1;
    if (file_.integer(key("rope.dimension_count"), static_cast<int64_t>(head_)) != static_cast<int64_t>(head_)) {
        throw Error("positions that turn a part of a head only");
    }
    const std::vector<float> even(head_ / 2, 1);
    const bool stretched = file_.find("rope_freqs.weight") != nullptr, halves = architecture_->rope_halves;
    const double base = file_.number(key("rope.freq_base"), 10000);
    model_.ropes.push_back(
        rope(halves, base, factor, head_, stretched ? linears_.vector("rope_freqs.weight", head_ / 2) : even));
    if (architecture_->gemma) {
        model_.ropes.push_back(rope(halves, file_.number(key("rope.freq_base_swa"), 10000), 1, head_, even));
    }
}

Layer Loader::read_layer(size_t index) {
    const std::string prefix = "blk." + std::to_string(index) + ".";
    const bool after = architecture_->gemma;
    Layer layer;
    if ((layer.mixer.branch = read_mixer(index, prefix))) {
        layer.mixer.norm = norm(prefix + "attn_norm.weight", model_.width);
        if (after) layer.mixer.post_norm = norm(prefix + "post_attention_norm.weight", model_.width);
    }
    // Attention without a feed-forward counts here, as in DeciLM's own code; llama.cpp leaves it out.
    const size_t hidden = in_range(prefix + "feed-forward width", feed_forward_[index], 0);
    if (hidden != 0) {
        layer.feed_forward.branch = read_feed_forward(prefix, hidden);
        layer.feed_forward.norm = norm(prefix + "ffn_norm.weight", model_.width);
        if (after) layer.feed_forward.post_norm = norm(prefix + "post_ffw_norm.weight", model_.width);
    }
    return layer;
}

std::unique_ptr<Mixer> Loader::read_mixer(size_t index, const std::string& prefix) {
    if (recurrent_[index]) return read_mlgru(index, prefix);
    if (heads_[index] == 0 && !architecture_->matmulfree) return nullptr;
    if (kv_heads_[index] != 0 || !architecture_->linear) return read_attention(index, prefix);
    auto mixer = std::make_unique<LinearMixer>();
    mixer->output = linears_.linear(prefix + "attn_output", model_.width, model_.width);
    return mixer;
}

std::unique_ptr<Mixer> Loader::read_mlgru(size_t index, const std::string& prefix) {
    auto mixer = std::make_unique<Mlgru>();
    const size_t width = model_.width;
    mixer->layer = index;
    mixer->lower = linears_.vector(prefix + "mix_lower.weight", width, architecture_->out_norm != nullptr);
    if (mixer->lower.empty()) mixer->lower.resize(round_up(width));
    const bool sound =
        std::all_of(mixer->lower.begin(), mixer->lower.end(), [](float least) { return least >= 0 && least < 1; });
    if (!sound) throw Error(prefix + "mix_lower.weight has bounds that are not from 0 to below 1");
    mixer->forget = linears_.linear(prefix + "mix_f", width, width);
    mixer->candidate = linears_.linear(prefix + "mix_c", width, width);
    mixer->gate = linears_.linear(prefix + "mix_g", width, width);
    mixer->out_norm = norm(prefix + "mix_out_norm.weight", width, architecture_->out_norm != nullptr);
    mixer->output = linears_.linear(prefix + "mix_out", width, width);
    return mixer;
}

std::unique_ptr<Mixer> Loader::read_attention(size_t index, const std::string& prefix) {
    auto attention = std::make_unique<Attention>();
    Attention& a = *attention;
    a.layer = index, a.head_width = head_, a.biased = model_.kernels().biased;
    a.heads = in_range(prefix + "heads", heads_[index], 1),
    a.kv_heads = in_range(prefix + "key heads", kv_heads_[index], 0);
    if (a.kv_heads == 0 || a.heads % a.kv_heads != 0) {
        throw Error(prefix + " has " + std::to_string(a.heads) + " heads on " + std::to_string(a.kv_heads) +
                    " of keys");
    }
    a.window = windows_[index], a.rope = a.window != 0 ? kLocalRope : kGlobalRope;
    const bool by_width = architecture_->gemma && heads_.size() == kGemma27bLayers;
    a.scale = 1.0f / std::sqrt(static_cast<float>(by_width ? model_.width / a.heads : head_));
    const size_t queries = a.heads * head_, keys = a.kv_heads * head_, width = model_.width;
    if (file_.find(prefix + "attn_qkv.weight")) {
        a.q = linears_.cut(prefix + "attn_qkv", 0, queries, width);
        a.k = linears_.cut(prefix + "attn_qkv", queries, keys, width);
        a.v = linears_.cut(prefix + "attn_qkv", queries + keys, keys, width);
    } else {
        a.q = linears_.linear(prefix + "attn_q", queries, width);
        a.k = linears_.linear(prefix + "attn_k", keys, width);
        a.v = linears_.linear(prefix + "attn_v", keys, width);
    }
    a.output = linears_.linear(prefix + "attn_output", width, queries);
    a.q_norm = norm(prefix + "attn_q_norm.weight", head_, false);
    a.k_norm = norm(prefix + "attn_k_norm.weight", head_, false);
    if (architecture_->out_norm) a.out_norm = norm(prefix + architecture_->out_norm + ".weight", queries);
    return attention;
}

std::unique_ptr<Branch> Loader::read_feed_forward(const std::string& prefix, size_t hidden) {
    auto network = std::make_unique<GatedFeedForward>();
    network->activation = architecture_->gemma ? model_.kernels().gelu_gate : model_.kernels().silu_gate;
    network->gate = linears_.linear(prefix + "ffn_gate", hidden, model_.width);
    network->up = linears_.linear(prefix + "ffn_up", hidden, model_.width);
    network->down = linears_.linear(prefix + "ffn_down", model_.width, hidden);
    if (architecture_->down_norm) network->down_norm = norm(prefix + architecture_->down_norm + ".weight", hidden);
    return network;
}

Norm Loader::norm(const std::string& name, size_t n, bool needed) {
    return {linears_.vector(name, n, needed), epsilon_};
}

void Loader::pack_all() {
    model_.weights = linears_.pack(model_.pool(), model_.kernels().biased);
    model_.weight_bytes = model_.weights.size();
    for (Layer& layer : model_.layers) {
        for (Branch* branch : {static_cast<Branch*>(layer.mixer.branch.get()), layer.feed_forward.branch.get()}) {
            if (!branch) continue;
            for (Linear* linear : branch->linears()) linears_.settle(*linear);
        }
    }
    linears_.settle(model_.logits);
    file_.forget();  // the header, and pages that hold the end of one tensor and the beginning of the next
}

}  // namespace filament
