using System.Text;
using Vmm.Devices.State;

namespace Vmm.Devices.Tests.State;

/// <summary>Saved state is read, or refused with the name of the wrong field.</summary>
public sealed class StateReaderTests
{
    [Fact]
    public void What_was_written_is_read()
    {
        byte[] state = StateWriter.Save(new Sample(static writer =>
        {
            writer.Version(3);
            writer.Write("most", ulong.MaxValue);
            writer.Write("least", long.MinValue);
            writer.Write("yes", true);
            writer.Write("text", "a \"b\" c");
            writer.Write("bytes", new byte[] { 0, 1, 255 });
            writer.Write("inner", static inner => inner.Write("number", 7u));
            writer.Write("list", new[] { 1, 2 }, static (item, value) => item.Write("value", value));
        }));
        StateReader reader = StateReader.Parse(state, "machine");
        reader.Version(3);
        Assert.Equal(ulong.MaxValue, reader.UInt64("most"));
        Assert.Equal(long.MinValue, reader.Int64("least"));
        Assert.True(reader.Boolean("yes"));
        Assert.Equal("a \"b\" c", reader.String("text", 10));
        Assert.Equal([0, 1, 255], reader.Bytes("bytes", 3, 3));
        StateReader inner = reader.Object("inner");
        Assert.Equal(7u, inner.UInt32("number", 7));
        inner.End();
        StateReader[] list = reader.List("list", 2, 2);
        Assert.Equal(2, list[1].UInt8("value"));
        list[1].End();
        reader.End();
    }

    [Theory]
    [InlineData("", "m")]
    [InlineData("[]", "m")]
    [InlineData("{", "m")]
    [InlineData("{} {}", "m")]
    [InlineData("{}", "m.n")]
    [InlineData("""{"n":-1}""", "m.n")]
    [InlineData("""{"n":"1"}""", "m.n")]
    [InlineData("""{"n":1.5}""", "m.n")]
    [InlineData("""{"n":1e999}""", "m.n")]
    [InlineData("""{"n":18446744073709551616}""", "m.n")]
    [InlineData("""{"n":10}""", "m.n")]
    [InlineData("""{"n":null}""", "m.n")]
    [InlineData("""{"n":1,"n":1}""", "m.n")]
    [InlineData("""{"n":1,"other":1}""", "m.other")]
    [InlineData("""{"n":1,"\u001b[2J":1}""", "m.??2J")]
    [InlineData("""{"n":1,"deep":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}""", "m")]
    public void A_number_that_is_none_is_refused_by_name(string json, string field)
    {
        StateException error = Assert.Throws<StateException>(() =>
        {
            StateReader reader = StateReader.Parse(Encoding.UTF8.GetBytes(json), "m");
            reader.UInt64("n", 0, 9);
            reader.End();
        });
        Assert.Equal(field, error.Field);
        Assert.StartsWith(field + ": ", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }

    [Fact]
    public void Other_types_are_refused_by_name()
    {
        byte[] json = """
            {"number":256,"flag":1,"bytes":"AAA","short":"AAAA","text":"abcd","list":[{},{}],"mixed":[1],"object":[],"bits":6,"version":2}
            """u8.ToArray();
        foreach ((string field, Action<StateReader> read) in new (string, Action<StateReader>)[]
        {
            ("number", static r => r.UInt8("number")),
            ("flag", static r => r.Boolean("flag")),
            ("bytes", static r => r.Bytes("bytes", 0, 10)),
            ("short", static r => r.Bytes("short", 4, 4)),
            ("text", static r => r.String("text", 3)),
            ("list", static r => r.List("list", 3, 4)),
            ("list", static r => r.List("list", 0, 1)),
            ("mixed[0]", static r => r.List("mixed", 0, 1)),
            ("object", static r => r.Object("object")),
            ("bits", static r => r.Bits("bits", 2)),
            ("version", static r => r.Version(1)),
        })
        {
            Assert.Equal("m." + field, Assert.Throws<StateException>(() => read(StateReader.Parse(json, "m"))).Field);
        }
    }

    private sealed class Sample(Action<StateWriter> save) : ISavedState
    {
        public void Save(StateWriter state) => save(state);

        public void Load(StateReader state) => throw new NotSupportedException();
    }
}
