//===- Tokenizer.cpp - Text to tokens and back ----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Tokenizer.h"
#include "Error.h"
#include "TokenizerScript.h" // generated of tokenizer.py

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

namespace ferrite::cli {

Tokenizer::Tokenizer(const std::string &path, const std::string &chatTemplate,
                     const std::string &python) {
  // Not `access` alone: the message of the process would come much later.
  if (access(path.c_str(), R_OK))
    throw Error(format("cannot read the tokenizer '%s': %s", path.c_str(),
                       strerror(errno)));
  const char *fromEnvironment = getenv("FERRITE_PYTHON");
  std::string program = !python.empty()   ? python
                        : fromEnvironment ? fromEnvironment
                                          : "python3";
  int in[2], out[2];
  if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
    throw Error(format("no pipe: %s", strerror(errno)));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  const char *arguments[] = {program.c_str(),      "-c",
                             tokenizerScript,      path.c_str(),
                             chatTemplate.c_str(), nullptr};
  int failed = posix_spawnp(&pid, program.c_str(), &actions, nullptr,
                            const_cast<char **>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(in[0]);
  close(out[1]);
  questions = fdopen(in[1], "w");
  answers = fdopen(out[0], "r");
  if (failed) {
    pid = -1;
    throw Error(format("--tokenizer needs Python, and '%s' does not start: %s. "
                       "--prompt-ids goes without",
                       program.c_str(), strerror(failed)));
  }
  // A process that died must be an error of ours, not our death.
  signal(SIGPIPE, SIG_IGN);
  ask({{"known", true}});
}

Tokenizer::~Tokenizer() {
  if (questions)
    fclose(questions);
  if (answers)
    fclose(answers);
  if (pid > 0)
    waitpid(pid, nullptr, 0);
}

nlohmann::json Tokenizer::ask(const nlohmann::json &question) {
  std::string line =
      question.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) +
      "\n";
  fwrite(line.data(), 1, line.size(), questions);
  fflush(questions);
  char *text = nullptr;
  size_t capacity = 0;
  ssize_t size = getline(&text, &capacity, answers);
  std::string reply(text ? text : "", size > 0 ? size_t(size) : 0);
  free(text);
  nlohmann::json answer = nlohmann::json::parse(reply, nullptr, false);
  if (!answer.is_object())
    throw Error("the tokenizer's Python process ended without an answer");
  if (answer.contains("error"))
    throw Error("the tokenizer: " + answer["error"].get<std::string>());
  return answer;
}

std::vector<int64_t> Tokenizer::encode(const std::string &text) {
  return ask({{"encode", text}}).at("ids");
}

std::vector<int64_t> Tokenizer::chat(
    const std::vector<std::pair<std::string, std::string>> &messages) {
  nlohmann::json list = nlohmann::json::array();
  for (const auto &[role, content] : messages)
    list.push_back({{"role", role}, {"content", content}});
  return ask({{"chat", list}}).at("ids");
}

std::string Tokenizer::add(int64_t token, int32_t stream) {
  return ask({{"add", token}, {"stream", stream}}).at("text");
}

std::string Tokenizer::end(int32_t stream) {
  return ask({{"end", stream}}).at("text");
}

std::string Tokenizer::decode(const int64_t *tokens, size_t count) {
  return ask({{"decode", std::vector<int64_t>(tokens, tokens + count)}})
      .at("text");
}

std::vector<int64_t> Tokenizer::starts() {
  return ask({{"starts", true}}).at("ids");
}

std::vector<int64_t> Tokenizer::stops() {
  return ask({{"stops", true}}).at("ids");
}

} // namespace ferrite::cli
