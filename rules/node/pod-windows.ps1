# Prints the dump of a Windows node, as text that `migrate scan --nodes` checks and unpacks. The script that makes the
# dump is in MIGRATE_READER; it writes into a folder of its own, which is gone before this ends.
$ErrorActionPreference = 'Stop'
$utf8 = New-Object System.Text.UTF8Encoding($false)
$folder = Join-Path -Path ([System.IO.Path]::GetTempPath()) -ChildPath ('cilium-migrate-' + [Guid]::NewGuid().ToString('N'))
$packed = New-Object System.IO.MemoryStream

function Add-File($stream, [string] $path) {
    $bytes = [System.IO.File]::ReadAllBytes($path)
    $frame = [ordered]@{ name = [System.IO.Path]::GetFileName($path); size = $bytes.Length }
    $head = $utf8.GetBytes((ConvertTo-Json -Compress $frame) + "`n")
    $stream.Write($head, 0, $head.Length)
    $stream.Write($bytes, 0, $bytes.Length)
}

try {
    $reader = [scriptblock]::Create($env:MIGRATE_READER)
    & $reader -Folder $folder -Name $env:MIGRATE_NODE_NAME -Way 'pod' -ToolVersion $env:MIGRATE_VERSION | Out-Null
    $zip = New-Object System.IO.Compression.GZipStream($packed, [System.IO.Compression.CompressionMode]::Compress, $true)
    $description = Join-Path -Path $folder -ChildPath 'node.json'
    Add-File $zip $description
    foreach ($path in [System.IO.Directory]::GetFiles($folder)) {
        if ($path -ne $description) { Add-File $zip $path }
    }
    $zip.Dispose()
}
finally {
    Remove-Item -LiteralPath $folder -Recurse -Force -ErrorAction SilentlyContinue
}

$data = $packed.ToArray()
$digest = [System.Security.Cryptography.SHA256]::Create().ComputeHash($data)
$lines = [int][Math]::Ceiling($data.Length / 3072)
[Console]::Out.NewLine = "`n"
$shown = ([System.BitConverter]::ToString($digest) -replace '-', '').ToLowerInvariant()
[Console]::Out.WriteLine('cilium-migrate-bundle 1 {0} {1} {2}' -f $lines, $data.Length, $shown)
for ($number = 0; $number -lt $lines; $number++) {
    $length = [Math]::Min(3072, $data.Length - $number * 3072)
    [Console]::Out.WriteLine('b {0} {1}' -f $number, [Convert]::ToBase64String($data, $number * 3072, $length))
}
[Console]::Out.WriteLine('cilium-migrate-bundle end')
