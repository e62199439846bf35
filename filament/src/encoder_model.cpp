#include "encoder_model.hpp"

#include "linears.hpp"

namespace filament {
namespace {

constexpr size_t kMostLayers = 4096;
constexpr int64_t kMean = 1, kRank = 4;  // llama.cpp's numbers: pooled by the mean, or the first token's

// Reads a model part by part.
class Reader {
  public:
    Reader(EncoderModel& model, const File& file) : model_(model), file_(file), linears_(file) {}
    void read_sizes();
    void read_embeddings();
    void read_layers();
    void read_head(size_t answers);
    void pack(const Means& means);

  private:
    size_t size(const char* key) const { return in_range(key, file_.integer(key), 1); }
    LayerNorm norm(const std::string& name);
    Linear linear(const std::string& name, size_t rows, size_t columns);

    EncoderModel& model_;
    const File& file_;
    Linears linears_;
    float epsilon_ = 0;
};

void Reader::read_sizes() {
    EncoderModel& m = model_;
    m.width = size("bert.embedding_length"), m.hidden = size("bert.feed_forward_length");
    m.heads = size("bert.attention.head_count"), m.positions = size("bert.context_length");
    if (m.width % m.heads != 0)
        throw Error(std::to_string(m.heads) + " heads do not share a width of " + std::to_string(m.width));
    m.head_width = m.width / m.heads;
    epsilon_ = static_cast<float>(file_.number("bert.attention.layer_norm_epsilon"));
    if (!(epsilon_ >= 0)) throw Error("bert.attention.layer_norm_epsilon cannot be " + std::to_string(epsilon_));
    if (file_.flag("bert.attention.causal", false)) throw Error("a bert whose tokens do not see those behind");
    const int64_t pooling = file_.integer("bert.pooling_type");
    if (pooling != kMean && pooling != kRank)
        throw Error("bert.pooling_type " + std::to_string(pooling) + ": 1 (mean) and 4 (rank) are known");
    m.first_only = pooling == kRank, m.normalizes = file_.flag("lightbulb.normalize", false);
    if (m.first_only && m.normalizes) throw Error("lightbulb.normalize beside bert.pooling_type 4");
}

void Reader::read_embeddings() {
    EncoderModel& m = model_;
    m.embedding = &linears_.tensor("token_embd.weight");
    block_type(m.embedding->type);  // or it cannot be read
    if (m.embedding->columns() != m.width) throw Error("token_embd.weight does not fit bert.embedding_length");
    m.vocabulary = m.embedding->rows();
    const Tensor &places = linears_.tensor("position_embd.weight"), &types = linears_.tensor("token_types.weight");
    if (places.columns() != m.width || places.rows() != m.positions)
        throw Error("position_embd.weight does not fit bert.context_length");
    if (types.columns() != m.width || types.rows() != size("tokenizer.ggml.token_type_count"))
        throw Error("token_types.weight does not fit tokenizer.ggml.token_type_count");
    std::vector<float> type(m.width);
    read_row(types, 0, type.data());
    m.places.resize(m.positions * m.width);
    for (size_t p = 0; p < m.positions; ++p) {
        float* place = &m.places[p * m.width];
        read_row(places, p, place);
        for (size_t i = 0; i < m.width; ++i) place[i] += type[i];
    }
    m.embedding_norm = norm("token_embd_norm");
}

void Reader::read_layers() {
    const size_t layers = size("bert.block_count"), width = model_.width, hidden = model_.hidden;
    if (layers > kMostLayers) throw Error("a model of " + std::to_string(layers) + " layers");
    for (size_t i = 0; i < layers; ++i) {
        const std::string prefix = "blk." + std::to_string(i) + ".";
        EncoderLayer layer;
        layer.q = linear(prefix + "attn_q", width, width), layer.k = linear(prefix + "attn_k", width, width);
        layer.v = linear(prefix + "attn_v", width, width), layer.output = linear(prefix + "attn_output", width, width);
        layer.up = linear(prefix + "ffn_up", hidden, width), layer.down = linear(prefix + "ffn_down", width, hidden);
        layer.attention_norm = norm(prefix + "attn_output_norm");
        layer.output_norm = norm(prefix + "layer_output_norm");
        model_.layers.push_back(std::move(layer));
    }
}

void Reader::read_head(size_t answers) {
    model_.head = linear("cls.output", answers, model_.width);
    linears_.refuse_others();
}

void Reader::pack(const Means& means) {
    model_.weights = linears_.pack(*means.pool, means.kernels.biased);
    for (EncoderLayer& l : model_.layers) {
        for (Linear* each : {&l.q, &l.k, &l.v, &l.output, &l.up, &l.down}) linears_.settle(*each);
    }
    linears_.settle(model_.head);
}

LayerNorm Reader::norm(const std::string& name) {
    const size_t n = model_.width;
    return {linears_.vector(name + ".weight", n), linears_.vector(name + ".bias", n), epsilon_};
}

Linear Reader::linear(const std::string& name, size_t rows, size_t columns) {
    linears_.tensor(name + ".bias");  // each has one
    return linears_.linear(name, rows, columns);
}

}  // namespace

EncoderModel::EncoderModel(const File& file, const Means& means, size_t answers) {
    Reader reader(*this, file);
    reader.read_sizes();
    reader.read_embeddings();
    reader.read_layers();
    reader.read_head(answers);
    reader.pack(means);
}

}  // namespace filament
