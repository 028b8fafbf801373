// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ERC1155} from "@openzeppelin/contracts/token/ERC1155/ERC1155.sol";
import {EnergyAssetNFT} from "../EnergyAssetNFT.sol";
import {BuyOut} from "./BuyOut.sol";
import {Dividends} from "./Dividends.sol";
import {TokenRoles} from "./TokenRoles.sol";

/// @title Many owners of one asset: its token is locked here, and shares of it are tokens of their own.
/// @notice
///     fractionalise   the owner locks the asset and receives all shares, id = tokenId
///     payDividend     what the asset earned, to whoever holds shares (Dividends)
///     offer …         somebody buys it whole (BuyOut)
///     redeem          whoever holds all shares takes the asset back
/// The asset is locked as long as any share stands for it. Somebody must run it meanwhile: that is who shared it, until
/// a holder of more than half of the shares appoints somebody else.
contract AssetShares is BuyOut {
    /// @notice The asset was shared; a bidder must hold `quorumShares` of `shares` to buy it whole.
    event Fractionalised(uint256 indexed id, address indexed owner, uint128 shares, uint128 quorumShares);
    /// @notice The holder of all shares took the asset back.
    event Redeemed(uint256 indexed id, address indexed holder);
    /// @notice `operator` runs the asset.
    event OperatorAppointed(uint256 indexed id, address indexed operator);

    /// @notice The asset is shared, or shares of its last sale are not surrendered.
    error AlreadyShared(uint256 id);
    /// @notice The quorum is less than two thirds of the shares, or more than all.
    error WrongQuorum(uint128 quorumShares);
    /// @notice The caller does not hold all shares.
    error NotAllShares(uint256 held);
    /// @notice The caller does not hold more than half of the shares.
    error NotTheMajority(uint256 held);

    mapping(uint256 id => address operator) private _operators;

    /// @notice Shares assets of `assets_`, in the money of their settlement. Offers can be accepted for
    /// `offerPeriodS_`, and countered for as long again.
    constructor(EnergyAssetNFT assets_, uint64 offerPeriodS_)
        ERC1155("")
        Dividends(IERC20(assets_.settlement().token()))
        BuyOut(assets_, offerPeriodS_)
    {}

    /// @notice Locks an asset of the caller's, who must have approved that, and gives him all shares of it. A buy-out
    /// needs `quorumShares` of them, two thirds at least: fixed, for whoever buys a share buys that as well.
    function fractionalise(uint256 id, uint128 shares, uint128 quorumShares) external {
        if (_sharings[id].stage != Stage.WHOLE) revert AlreadyShared(id);
        if (quorumShares == 0 || quorumShares > shares || uint256(quorumShares) * 3 < uint256(shares) * 2) {
            revert WrongQuorum(quorumShares);
        }

        _sharings[id] = Sharing(Stage.SHARED, quorumShares, 0);

        emit Fractionalised(id, msg.sender, shares, quorumShares);
        assets.transferFrom(msg.sender, address(this), id);
        _appoint(id, msg.sender);
        _mint(msg.sender, id, shares, "");
    }

    /// @notice Burns all shares, which the caller holds, and gives him the asset. Ends a standing offer.
    function redeem(uint256 id) external {
        uint256 held = balanceOf(msg.sender, id);
        if (_sharings[id].stage != Stage.SHARED) revert NotShared(id);
        if (held != sharesOf(id)) revert NotAllShares(held);

        _endOffer(id);
        delete _sharings[id];
        _burn(msg.sender, id, held);

        emit Redeemed(id, msg.sender);
        assets.transferFrom(address(this), msg.sender, id);
    }

    /// @notice Lets `operator` run the asset instead of who did. By a holder of more than half of the shares.
    function appointOperator(uint256 id, address operator) external {
        uint256 held = balanceOf(msg.sender, id);
        if (_sharings[id].stage != Stage.SHARED) revert NotShared(id);
        if (held * 2 <= sharesOf(id)) revert NotTheMajority(held);
        assets.setTokenRole(id, TokenRoles.Role.OPERATOR, _operators[id], false);
        _appoint(id, operator);
    }

    /// @notice Who runs an asset while it is shared.
    function operatorOf(uint256 id) external view returns (address) {
        return _sharings[id].stage == Stage.SHARED ? _operators[id] : address(0);
    }

    /// @notice Where the asset is described.
    function uri(uint256 id) public view override returns (string memory) {
        return assets.tokenURI(id);
    }

    function _appoint(uint256 id, address operator) private {
        _operators[id] = operator;
        emit OperatorAppointed(id, operator);
        assets.setTokenRole(id, TokenRoles.Role.OPERATOR, operator, true);
    }
}
