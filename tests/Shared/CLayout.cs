using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text;

namespace Vmm.Tests.Shared;

/// <summary>Proves that C# structures are laid out as the C ones are: prints a static assertion for the size of each
/// and for the offset and size of each field, and lets the C compiler judge them by the system's headers.</summary>
/// <example><code>
/// new CLayout("linux/kvm.h").Struct&lt;KvmRegs&gt;("struct kvm_regs").Judge();
/// </code></example>
internal sealed class CLayout
{
    private readonly StringBuilder _source = new("#include <stddef.h>\n#include <stdint.h>\n");

    /// <param name="headers">Headers to include, in order.</param>
    public CLayout(params ReadOnlySpan<string> headers)
    {
        foreach (string header in headers)
        {
            Line($"#include <{header}>");
        }
    }

    /// <summary>How many assertions there are so far.</summary>
    public int Count { get; private set; }

    /// <summary>Asserts size, field offsets and field sizes of a structure. A C# field is compared with the C field of
    /// the same name, or of the name in snake_case if it begins with a capital (SetupSects is setup_sects); a property's
    /// field with that of the property's name.</summary>
    /// <param name="type">The C type: "struct kvm_regs".</param>
    /// <param name="names">C names of fields that are called otherwise (may be a path: "s.type"); an empty string
    /// leaves a field out.</param>
    public CLayout Struct<T>(string type, params ReadOnlySpan<(string Field, string Name)> names)
        where T : unmanaged
    {
        Assert($"sizeof({type}) == {Unsafe.SizeOf<T>()}", $"size of {type}");
        Fields<T>(type, names);
        return this;
    }

    /// <summary>As <see cref="Struct"/>, without the size: for structures of which C#'s is only a part.</summary>
    public CLayout Fields<T>(string type, params ReadOnlySpan<(string Field, string Name)> names)
        where T : unmanaged
    {
        const BindingFlags All = BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic;
        foreach (FieldInfo field in typeof(T).GetFields(All))
        {
            string name = CName(field.Name, names);
            if (name.Length == 0)
            {
                continue;
            }

            (int offset, int size) = Measure<T>(field);
            Assert($"offsetof({type}, {name}) == {offset}", $"offset of {name} in {type}");
            Assert($"sizeof((({type} *)0)->{name}) == {size}", $"size of {name} in {type}");
        }

        return this;
    }

    /// <summary>Asserts the value of a constant or an expression, of 32 bits if it is an int.</summary>
    public CLayout Constant(string expression, int value)
    {
        Assert($"(uint32_t)({expression}) == {unchecked((uint)value)}u", $"value of {expression}");
        return this;
    }

    /// <inheritdoc cref="Constant(string, int)"/>
    public CLayout Constant(string expression, ulong value)
    {
        Assert($"(uint64_t)({expression}) == {value}u", $"value of {expression}");
        return this;
    }

    /// <summary>Lets gcc judge; throws with what it said if anything differs.</summary>
    public void Judge()
    {
        var start = new ProcessStartInfo("gcc", ["-fsyntax-only", "-D_GNU_SOURCE", "-x", "c", "-"])
        {
            RedirectStandardInput = true,
            RedirectStandardError = true,
        };
        using Process gcc = Process.Start(start)!;
        Task<string> said = gcc.StandardError.ReadToEndAsync();
        gcc.StandardInput.Write(_source);
        gcc.StandardInput.Close();
        gcc.WaitForExit();
        if (gcc.ExitCode != 0)
        {
            throw new InvalidOperationException("the C compiler disagrees:\n" + said.GetAwaiter().GetResult());
        }
    }

    /// <summary>Fills one field with ones and looks where they went: true for explicit, packed and inline-array
    /// layouts alike.</summary>
    private static (int Offset, int Size) Measure<T>(FieldInfo field)
        where T : unmanaged
    {
        if (field.FieldType.IsPointer)
        {
            unsafe
            {
                object pointer = default(T);
                field.SetValue(pointer, Pointer.Box((void*)-1, field.FieldType));
                return (Bytes(pointer, Unsafe.SizeOf<T>()).IndexOf((byte)0xff), sizeof(void*));
            }
        }

        object ones = RuntimeHelpers.GetUninitializedObject(field.FieldType);
        MethodInfo sizeOf = typeof(Unsafe).GetMethod(nameof(Unsafe.SizeOf))!.MakeGenericMethod(field.FieldType);
        int size = (int)sizeOf.Invoke(null, null)!;
        Bytes(ones, size).Fill(0xff);

        object whole = default(T);
        field.SetValue(whole, ones);
        return (Bytes(whole, Unsafe.SizeOf<T>()).IndexOf((byte)0xff), size);
    }

    private static Span<byte> Bytes(object boxed, int size) =>
        System.Runtime.InteropServices.MemoryMarshal.CreateSpan(ref Unsafe.As<Box>(boxed).First, size);

    private static string CName(string field, ReadOnlySpan<(string Field, string Name)> names)
    {
        if (field[0] == '<')
        {
            field = field[1..field.IndexOf('>', StringComparison.Ordinal)];     // behind a property
        }

        foreach ((string from, string to) in names)
        {
            if (from == field)
            {
                return to;
            }
        }

        if (!char.IsUpper(field[0]))
        {
            return field;
        }

        var snake = new StringBuilder();
        foreach (char c in field)
        {
            if (char.IsUpper(c) && snake.Length > 0)
            {
                snake.Append('_');
            }

            snake.Append(char.ToLowerInvariant(c));
        }

        return snake.ToString();
    }

    private void Assert(string condition, string message)
    {
        Line($"_Static_assert({condition}, \"{message}\");");
        Count++;
    }

    private void Line(FormattableString line) =>
        _source.Append(line.ToString(CultureInfo.InvariantCulture)).Append('\n');

    /// <summary>What a boxed structure looks like behind its method table.</summary>
    private sealed class Box
    {
        public byte First;
    }
}
