"""Graphs whose values, scopes and functions do not fit together."""
from corpus import *

CYCLE = "the graph has a cycle"


@case(1, r"node 'n' \(Add\): reads its own result: " + CYCLE)
def cycle_of_one():
    return model([node("Add", "x y", "y")])


@case(1, r"node '[ab]' \(\w+\): depends on its own result through node '[ab]': " + CYCLE)
def cycle_of_two():
    return model([node("Add", "x v", "u", "a"), node("Relu", "u", "v", "b"), node("Relu", "v", "y", "c")])


@case(1, r"node 'n\d+' \(Add\): depends on its own result through node 'n\d+': " + CYCLE)
def cycle_of_a_thousand():
    return model([node("Add", f"x v{i}", f"v{(i + 1) % 1000}", f"n{i}") for i in range(1000)]
                 + [node("Relu", "v0", "y", "last")])


def branch(result, *nodes):
    return graph(list(nodes), (), [value(result, None)], name="branch")


CONDITION = tensor("c", True, np.bool_)


@case(1, r"node 'n' \(If\): .*(cycle|own result)")
def cycle_through_a_branch():
    body = branch("r", node("Relu", "y", "r", "inner"))
    return model([node("If", "c", "y", then_branch=body, else_branch=body)], weights=[CONDITION])


@case(1, r"node '\w+' \(\w+\): .*cycle")
def cycle_through_two_branches():
    one, two = (branch("r", node("Relu", v, "r", "inner")) for v in ("v", "u"))
    return model([node("If", "c", "u", "a", then_branch=one, else_branch=one),
                  node("If", "c", "v", "b", then_branch=two, else_branch=two),
                  node("Relu", "v", "y", "last")], weights=[CONDITION])


@case(1, r"node 'two' \(Exp\): defines 'y', which node 'one' defines as well")
def value_defined_twice():
    return model([node("Relu", "x", "y", "one"), node("Exp", "x", "y", "two")])


@case(1, r"node 'n' \(Relu\): defines 'x', which is an input or initializer")
def input_redefined():
    return model([node("Relu", "x", "x"), node("Relu", "x", "y", "last")])


@case(1, r"node 'n' \(Split\): defines 'y'")
def one_node_defines_it_twice():
    return model([node("Split", "x", "y y", axis=1, num_outputs=2)])


@case(1, "input 'x' occurs twice")
def input_twice():
    return model([node("Relu", "x", "y")], inputs=[X, X])


@case(1, "initializer 'w' occurs twice")
def initializer_twice():
    return model([node("Add", "x w", "y")], weights=[tensor("w", np.ones(4, np.float32))] * 2)


@case(1, "output 'y' occurs twice")
def output_twice():
    return model([node("Relu", "x", "y")], outputs=[Y, Y])


@case(1, "output 'nowhere' is computed by no node")
def output_of_nothing():
    return model([node("Relu", "x", "y")], outputs=[value("nowhere", None)])


@case(1, "no output|has no outputs")
def no_outputs():
    return model([node("Relu", "x", "y")], outputs=[])


@case(1, "an input has no name")
def input_without_a_name():
    return model([node("Relu", "x", "y")], inputs=[X, value("", [4])])


@case(1, "output ''|output .*name")
def output_without_a_name():
    return model([node("Relu", "x", "y")], outputs=[Y, value("", None)])


@case(1, "an initializer has no name")
def initializer_without_a_name():
    return model([node("Relu", "x", "y")], weights=[tensor("", np.ones(4, np.float32))])


@case(1, r"node 'n' \(Add\): reads 'nowhere', which nothing defines")
def undefined_value():
    return model([node("Add", "x nowhere", "y")])


@case(1, r"node '.*' \(\): |node '.*': |has no op type|no such op")
def node_without_an_op():
    return model([node("", "x", "y")])


@case(1, r"node 'n' \(Relu\): .*input")
def too_many_inputs():
    return model([node("Relu", "x x x", "y")])


@case(1, r"node 'n' \(Add\): .*input")
def too_few_inputs():
    return model([node("Add", "x", "y")])


@case(1, r"node 'n' \(Add\): .*input")
def no_inputs():
    return model([node("Add", "", "y")])


@case(1, r"node 'n' \(Add\): .*input 1 is missing|node 'n' \(Add\): .*input")
def required_input_left_out():
    return model([helper.make_node("Add", ["x", ""], ["y"], "n")])


@case(1, r"node 'n' \(Relu\): .*output")
def too_many_outputs():
    return model([node("Relu", "x", "y z")])


@case(1, r"node 'n' \(Relu\): .*output")
def node_without_outputs():
    return model([node("Relu", "x", ""), node("Relu", "x", "y", "other")])


@case(1, r"node 'bad\?name\?' \(No\?pe\): ")
def names_with_control_characters():
    return model([node("No\npe", "x", "y", "bad\nname\x1b")])


@case(1, r"node 'n+' \(Nope\): ")
def name_of_a_megabyte():
    return model([node("Nope", "x", "y", "n" * 1000000)])


# -- Subgraphs ----------------------------------------------------------------------

RELU = branch("r", node("Relu", "x", "r", "inner"))


@case(1, r"node 'n' \(If\): .*else_branch")
def if_without_else():
    return model([node("If", "c", "y", then_branch=RELU)], weights=[CONDITION])


@case(1, r"node 'n' \(If\): .*condition|node 'n' \(If\): .*(bool|type|f32)")
def if_on_a_float():
    return model([node("If", "c", "y", then_branch=RELU, else_branch=RELU)],
                 weights=[tensor("c", 1.0, np.float32)])


@case(1, r"node 'n' \(If\): .*(fewer results|branch)")
def if_branch_without_results():
    empty = helper.make_graph([], "empty", [], [])
    return model([node("If", "c", "y", then_branch=empty, else_branch=empty)], weights=[CONDITION])


@case(1, r"node 'n' \(If\): .*'nowhere'")
def if_branch_with_an_undefined_result():
    body = branch("nowhere", node("Relu", "x", "r", "inner"))
    return model([node("If", "c", "y", then_branch=body, else_branch=body)], weights=[CONDITION])


@case(1, r"node '(n|inner)' \(\w+\): .*'hidden'")
def value_of_another_scope():
    then = branch("r", node("Relu", "x", "hidden", "a"), node("Relu", "hidden", "r", "b"))
    other = branch("r", node("Relu", "hidden", "r", "inner"))
    return model([node("If", "c", "y", then_branch=then, else_branch=other)],
                 weights=[tensor("c", False, np.bool_)])


@case(1, r"node '(n|inner)' \(\w+\): .*'late'")
def value_read_before_its_node():
    body = branch("r", node("Relu", "late", "r", "inner"), node("Relu", "x", "late", "after"))
    return model([node("If", "c", "y", then_branch=body, else_branch=body)], weights=[CONDITION])


@case(1, r"node 'n' \(If\): .*'nowhere'")
def branches_nested_25_deep():
    inner = branch("r", node("Relu", "nowhere", "r", "inner"))
    for depth in range(25):
        inner = branch("r", node("If", "c", "r", f"if{depth}", then_branch=inner, else_branch=RELU))
    return model([node("If", "c", "y", then_branch=inner, else_branch=inner)], weights=[CONDITION])


@case((1, 2), r"node 'n' \(Loop\): ")
def loop_without_a_body():
    return model([node("Loop", "m c x", "y")], weights=[scalar("m", 3), CONDITION])


@case((1, 2), r"node 'n' \(Loop\): ")
def loop_body_with_too_few_results():
    body = graph([node("Relu", "v", "r", "inner")],
                 [value("i", [], T.INT64), value("k", [], T.BOOL), value("v", None)],
                 [value("r", None)], name="body")
    return model([node("Loop", "m c x", "y", body=body)], weights=[scalar("m", 3), CONDITION])


@case((1, 2), r"node 'n' \(Loop\): ")
def loop_of_a_quintillion_turns():
    body = graph([node("Relu", "v", "r", "inner"), node("Identity", "k", "go", "id")],
                 [value("i", [], T.INT64), value("k", [], T.BOOL), value("v", None)],
                 [value("go", [], T.BOOL), value("r", None)], name="body")
    return model([node("Loop", "m c x", "y", body=body)], weights=[scalar("m", 10**18), CONDITION])


@case((1, 2), r"node 'n' \(Scan\): ")
def scan_of_more_inputs_than_there_are():
    body = graph([node("Relu", "v", "r", "inner")], [value("v", None)], [value("r", None)], name="body")
    return model([node("Scan", "x", "y", body=body, num_scan_inputs=10**9)])


# -- Functions ------------------------------------------------------------------------

IMPORTS = [("f", 1)]


def function(name, *nodes, inputs="a", outputs="b", **options):
    return helper.make_function("f", name, inputs.split(), outputs.split(), list(nodes),
                                [helper.make_opsetid("", 20), helper.make_opsetid("f", 1)], **options)


def calling(*functions, attributes={}):
    return model([node("F0", "x", "y", domain="f", **attributes)], functions=functions, domains=IMPORTS)


@case(1, "F0 -> f::F0")
def function_that_calls_itself():
    return calling(function("F0", node("F0", "a", "b", domain="f")))


@case(1, "f::F[01] -> f::F[01]")
def functions_that_call_each_other():
    return calling(function("F0", node("F1", "a", "b", domain="f")),
                   function("F1", node("F0", "a", "b", domain="f")))


@case(1, "f::F0|cycle|recurs")
def function_that_calls_itself_in_a_branch():
    body = branch("r", node("F0", "a", "r", domain="f"))
    return calling(function("F0", node("If", "k", "b", then_branch=body, else_branch=body), inputs="a k"))


@case(1, "the model's functions expand to more than 400000 nodes")
def functions_that_double():
    twice = [function(f"F{i}", node(f"F{i + 1}", "a", "m", domain="f"), node(f"F{i + 1}", "m", "b", domain="f"))
             for i in range(60)]
    return calling(*twice, function("F60", node("Relu", "a", "b")))


@case(1, "functions .*nest|deeply|cannot be inlined")
def functions_in_a_chain_of_20000():
    chain = [function(f"F{i}", node(f"F{i + 1}", "a", "b", domain="f")) for i in range(20000)]
    return calling(*chain, function("F20000", node("Relu", "a", "b")))


@case(1, "function .*F0.*(twice|duplicate)|F0")
def function_twice():
    return calling(function("F0", node("Relu", "a", "b")), function("F0", node("Exp", "a", "b")))


@case(1, "nowhere")
def function_reads_what_nothing_defines():
    return calling(function("F0", node("Add", "a nowhere", "b", "inner")))


@case(1, "F0|'y'|b")
def function_never_computes_its_result():
    return calling(function("F0", node("Relu", "a", "other")))


@case(1, "F0|inputs|y")
def function_called_with_too_many_inputs():
    return model([node("F0", "x x x", "y", domain="f")], functions=[function("F0", node("Relu", "a", "b"))],
                 domains=IMPORTS)


@case(1, "axis|sm")
def function_refers_to_an_attribute_of_another_type():
    softmax = node("Softmax", "a", "b", "sm")
    softmax.attribute.append(onnx.AttributeProto(name="axis", ref_attr_name="k", type=onnx.AttributeProto.INT))
    return calling(function("F0", softmax, attributes=["k"]), attributes={"k": "text"})


@case(2, r"node '.*' \(g::Magic\): the op is not supported")
def function_of_an_unknown_domain():
    return model([node("Magic", "x", "y", domain="g")], functions=[function("F0", node("Relu", "a", "b"))],
                 domains=[*IMPORTS, ("g", 1)])
