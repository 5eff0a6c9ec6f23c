//===- service.cpp - A compiled model behind HTTP -------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//   embed-service minilm.so --port 8080
//   curl localhost:8080/embed -d '{"input_ids": [[101, 7592, 2088, 102]]}'
//
// POST /embed takes token ids (tokenizers are the client's), GET /healthz tells
// that the service is up. One model, shared; a session for each request that
// runs at once. Requests answer the same bits alone as among others. SIGTERM
// and SIGINT end it, when what runs is answered.
//
//===----------------------------------------------------------------------===//
#include "Embedder.h"

#include <httplib.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <thread>

using nlohmann::json;

static void answer(httplib::Response &response, int status, const json &body) {
  response.status = status;
  // A name or text that is not UTF-8 came from the client: shown with marks.
  response.set_content(
      body.dump(-1, ' ', false, json::error_handler_t::replace) + "\n",
      "application/json");
}

static void handle(Embedder &embedder, const httplib::Request &request,
                   httplib::Response &response) {
  try {
    answer(response, 200, embedder.embed(json::parse(request.body)));
  } catch (const json::parse_error &error) {
    answer(
        response, 400,
        {{"error", std::string("the request is not JSON: ") + error.what()}});
  } catch (const BadRequest &error) {
    answer(response, 400, {{"error", error.what()}});
  } catch (const ferrite::Error &error) {
    bool clients = error.status() == FERRITE_INVALID_ARGUMENT;
    answer(response, clients ? 400 : 500, {{"error", error.what()}});
  } catch (const std::exception &error) {
    answer(response, 500, {{"error", error.what()}});
  }
}

namespace {
struct Arguments {
  std::string model, output, host = "127.0.0.1";
  int port = 0; // any
  int sessions = ferriteDefaultThreads();
  int threads = 1; // of a session: requests are the parallelism here
  int connections = 64;
};
} // namespace

static Arguments parse(int argc, char **argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    auto value = [&]() -> std::string {
      if (++i == argc)
        throw std::invalid_argument(word + " needs a value");
      return argv[i];
    };
    auto number = [&](int most) {
      std::string text = value();
      char *end;
      long parsed = std::strtol(text.c_str(), &end, 10);
      if (text.empty() || *end || parsed < 0 || parsed > most)
        throw std::invalid_argument(word + " takes a number, not '" + text +
                                    "'");
      return int(parsed);
    };
    if (word == "--host")
      arguments.host = value();
    else if (word == "--output")
      arguments.output = value();
    else if (word == "--port")
      arguments.port = number(65535);
    else if (word == "--sessions")
      arguments.sessions = std::max(1, number(1024));
    else if (word == "--threads")
      arguments.threads = number(1024);
    else if (word == "--connections")
      arguments.connections = std::max(1, number(4096));
    else if (arguments.model.empty() && word[0] != '-')
      arguments.model = word;
    else
      throw std::invalid_argument("what is '" + word + "'?");
  }
  if (arguments.model.empty())
    throw std::invalid_argument(
        "usage: embed-service MODEL.so [--host 127.0.0.1] [--port 0]\n"
        "       [--sessions CPUS] [--threads 1] [--connections 64]\n"
        "       [--output NAME]");
  return arguments;
}

static void defineRoutes(httplib::Server &server, Embedder &embedder) {
  server.Post("/embed", [&](const httplib::Request &request,
                            httplib::Response &response) {
    handle(embedder, request, response);
  });
  server.Get("/healthz",
             [&](const httplib::Request &, httplib::Response &response) {
               answer(response, 200,
                      {{"status", "ok"},
                       {"model", embedder.model().name()},
                       {"level", embedder.model().level()}});
             });
  // What the library answers by itself: no such path, a body too large.
  server.set_error_handler(
      [](const httplib::Request &, httplib::Response &response) {
        if (response.body.empty())
          answer(response, response.status,
                 {{"error", response.status == 404   ? "no such path"
                            : response.status == 413 ? "the body is too large"
                                                     : "a bad request"}});
      });
}

/// Returns the port. The library lets five connections wait to be accepted,
/// which a burst of clients exceeds: the rest are reset.
static int listenOn(httplib::Server &server, const std::string &host,
                    int port) {
  int descriptor = -1;
  server.set_socket_options([&](int socket) {
    int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    descriptor = socket;
  });
  int bound = port ? (server.bind_to_port(host, port) ? port : -1)
                   : server.bind_to_any_port(host);
  if (bound < 0 || listen(descriptor, SOMAXCONN))
    throw std::runtime_error("cannot listen on " + host + ":" +
                             std::to_string(port));
  return bound;
}

static int serve(const Arguments &arguments) {
  // Before any thread is made: all inherit it, so that the signals wait for
  // sigwait.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);

  Embedder embedder(arguments.model, arguments.output, arguments.sessions,
                    arguments.threads);
  httplib::Server server;
  server.new_task_queue = [&] {
    return new httplib::ThreadPool(std::size_t(arguments.connections));
  };
  server.set_payload_max_length(4 << 20);
  server.set_read_timeout(10);
  server.set_tcp_nodelay(true);
  defineRoutes(server, embedder);

  int port = listenOn(server, arguments.host, arguments.port);
  std::printf("listening on http://%s:%d\n", arguments.host.c_str(), port);
  std::fflush(stdout);

  std::atomic<bool> finished{false};
  std::thread waiter([&] {
    int signal;
    sigwait(&ends, &signal);
    while (!server.is_running() && !finished)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    server.stop();
  });
  bool stopped = server.listen_after_bind(); // returns when all is answered
  finished = true;
  pthread_kill(waiter.native_handle(), SIGTERM); // if no signal has come
  waiter.join();
  std::printf("stopped\n");
  return stopped ? 0 : 1;
}

int main(int argc, char **argv) {
  try {
    return serve(parse(argc, argv));
  } catch (const std::exception &error) {
    std::fprintf(stderr, "embed-service: %s\n", error.what());
    return 1;
  }
}
