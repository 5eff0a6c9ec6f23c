//===- GraphOrder.cpp - Nodes in the order of their values ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/GraphOrder.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringSet.h"
#include <queue>

using llvm::StringRef;

namespace ferrite::frontend {
namespace {

class Orderer {
public:
  Orderer(onnx::GraphProto &graph, NodeError emit) : graph(graph), emit(emit) {}

  bool run() {
    defineValues();
    collectReads();
    if (clean)
      sort();
    return clean;
  }

private:
  static constexpr int kOuter = -1; // an input or initializer

  void report(const onnx::NodeProto *node, const llvm::Twine &message) {
    clean = false;
    emit(node, message.str());
  }

  void defineValues() {
    for (const auto &input : graph.input())
      if (input.name().empty())
        report(nullptr, "an input has no name");
      else if (!definers.try_emplace(input.name(), kOuter).second)
        report(nullptr, "input '" + input.name() + "' occurs twice");
    llvm::StringSet<> initializers;
    for (const auto &tensor : graph.initializer()) {
      if (tensor.name().empty())
        report(nullptr, "an initializer has no name");
      // Before IR version 4 every initializer was an input as well.
      definers.try_emplace(tensor.name(), kOuter);
      if (!initializers.insert(tensor.name()).second)
        report(nullptr, "initializer '" + tensor.name() + "' occurs twice");
    }
    for (const auto &tensor : graph.sparse_initializer())
      definers.try_emplace(tensor.values().name(), kOuter);
    for (int i = 0; i < graph.node_size(); ++i)
      for (const std::string &output : graph.node(i).output()) {
        if (output.empty())
          continue;
        auto [definer, isNew] = definers.try_emplace(output, i);
        if (isNew)
          continue;
        report(&graph.node(i),
               "defines '" + output + "', which " +
                   (definer->second == kOuter
                        ? "is an input or initializer"
                        : "node '" + getNodeName(graph.node(definer->second)) +
                              "' defines as well"));
      }
  }

  void read(int node, StringRef value) {
    if (value.empty())
      return;
    auto definer = definers.find(value);
    if (definer == definers.end())
      return report(&graph.node(node),
                    "reads '" + value + "', which nothing defines");
    if (definer->second != kOuter) {
      users[definer->second].push_back(node);
      ++pending[node];
    }
  }

  void readCaptured(int node, const onnx::GraphProto &inner,
                    llvm::SmallVectorImpl<const llvm::StringSet<> *> &scopes) {
    llvm::StringSet<> own;
    for (const auto &input : inner.input())
      own.insert(input.name());
    for (const auto &tensor : inner.initializer())
      own.insert(tensor.name());
    for (const auto &innerNode : inner.node())
      for (const std::string &output : innerNode.output())
        own.insert(output);
    scopes.push_back(&own);
    auto capture = [&](StringRef value) {
      if (llvm::none_of(scopes,
                        [&](auto *scope) { return scope->contains(value); }))
        read(node, value);
    };
    for (const auto &innerNode : inner.node()) {
      for (const std::string &input : innerNode.input())
        capture(input);
      readSubgraphs(node, innerNode, scopes);
    }
    for (const auto &output : inner.output())
      capture(output.name());
    scopes.pop_back();
  }

  void readSubgraphs(int node, const onnx::NodeProto &at,
                     llvm::SmallVectorImpl<const llvm::StringSet<> *> &scopes) {
    for (const auto &attribute : at.attribute()) {
      // Bodies of functions have been inlined: no call is left to ask.
      if (!attribute.ref_attr_name().empty())
        report(&at, "attribute '" + attribute.name() + "' refers to '" +
                        attribute.ref_attr_name() +
                        "' of a function, and is in none");
      if (attribute.has_g())
        readCaptured(node, attribute.g(), scopes);
      for (const auto &inner : attribute.graphs())
        readCaptured(node, inner, scopes);
    }
  }

  void collectReads() {
    users.resize(graph.node_size());
    pending.resize(graph.node_size());
    for (int i = 0; i < graph.node_size(); ++i) {
      for (const std::string &input : graph.node(i).input())
        read(i, input);
      llvm::SmallVector<const llvm::StringSet<> *> scopes;
      readSubgraphs(i, graph.node(i), scopes);
    }
    llvm::StringSet<> outputs;
    for (const auto &output : graph.output())
      if (!definers.count(output.name()))
        report(nullptr,
               "output '" + output.name() + "' is computed by no node");
      else if (!outputs.insert(output.name()).second)
        report(nullptr, "output '" + output.name() + "' occurs twice");
  }

  void sort() {
    std::priority_queue<int, std::vector<int>, std::greater<int>> ready;
    for (int i = 0; i < graph.node_size(); ++i)
      if (pending[i] == 0)
        ready.push(i);
    std::vector<int> order;
    while (!ready.empty()) {
      int node = ready.top();
      ready.pop();
      order.push_back(node);
      for (int user : users[node])
        if (--pending[user] == 0)
          ready.push(user);
    }
    if (static_cast<int>(order.size()) != graph.node_size())
      return reportCycle();
    if (llvm::is_sorted(order))
      return;
    google::protobuf::RepeatedPtrField<onnx::NodeProto> sorted;
    sorted.Reserve(graph.node_size());
    for (int node : order)
      *sorted.Add() = std::move(*graph.mutable_node(node));
    graph.mutable_node()->Swap(&sorted);
  }

  void reportCycle() {
    // Every node left has a predecessor left: going back must come round.
    std::vector<int> predecessor(graph.node_size(), -1);
    int first = -1;
    for (int i = 0; i < graph.node_size(); ++i)
      for (int user : users[i])
        if (pending[i] > 0 && pending[user] > 0)
          predecessor[user] = first = i;
    llvm::DenseSet<int> seen;
    while (seen.insert(first).second)
      first = predecessor[first];
    int previous = predecessor[first];
    if (previous == first)
      return report(&graph.node(first),
                    "reads its own result: the graph has a cycle");
    report(&graph.node(first), "depends on its own result through node '" +
                                   getNodeName(graph.node(previous)) +
                                   "': the graph has a cycle");
  }

  onnx::GraphProto &graph;
  NodeError emit;
  llvm::StringMap<int> definers;
  std::vector<llvm::SmallVector<int, 2>> users;
  std::vector<int> pending;
  bool clean = true;
};

} // namespace

bool orderGraph(onnx::GraphProto &graph, NodeError emit) {
  return Orderer(graph, emit).run();
}

} // namespace ferrite::frontend
